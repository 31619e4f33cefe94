variable "word" {
  type = string
}

variable "who" {
  type = string
}

resource "terraform_data" "text" {
  input = "${var.word}, ${var.who}!"
}

output "text" {
  value = terraform_data.text.output
}
