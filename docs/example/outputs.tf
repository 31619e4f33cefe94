output "greeting" {
  description = "What the servers say."
  value       = module.greeting.text
}

output "servers" {
  description = "Their names."
  value       = sort([for server in terraform_data.server : server.output.name])
}

output "login" {
  description = "How one gets in; shown only when it is asked for by its name."
  value       = "admin:${var.password}"
  sensitive   = true
}
