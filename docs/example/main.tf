# What `nox -s demo` takes through plan, apply and destroy. It needs no provider from anywhere and
# touches nothing outside its own state.

terraform {
  required_version = ">= 1.4"

  # Where the server is comes from TF_CLOUD_HOSTNAME and TF_CLOUD_ORGANIZATION.
  cloud {
    workspaces {
      name = "demo"
    }
  }
}

module "greeting" {
  source = "./modules/greeting"
  word   = var.word
  who    = var.who
}

resource "terraform_data" "server" {
  for_each = toset(var.servers)

  input = {
    name = each.key
    says = module.greeting.text
  }
}

# Prints for about three seconds, so that one sees the log arrive while the apply goes on.
resource "terraform_data" "rollout" {
  triggers_replace = var.servers

  provisioner "local-exec" {
    command = "for step in 1 2 3 4 5 6; do echo \"rolling out, step $step of 6\"; sleep 0.5; done"
  }

  depends_on = [terraform_data.server]
}

resource "terraform_data" "account" {
  input = sha256(var.password)
}
