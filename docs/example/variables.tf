variable "word" {
  description = "How the servers greet."
  type        = string
  default     = "Hello"
}

variable "who" {
  description = "Whom they greet."
  type        = string
  default     = "world"
}

variable "servers" {
  description = "Names of the servers."
  type        = list(string)
  default     = ["blue", "green"]
}

variable "password" {
  description = "No log and no output may show it."
  type        = string
  default     = "correct-horse-battery"
  sensitive   = true
}
