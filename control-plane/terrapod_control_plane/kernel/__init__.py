"""What every slice stands on; knows no slice and no Litestar."""
