// Command gosteps is a stepwatch with the steps of a team's own beside the built-in ones. See docs/go-steps.md.
package main

import (
	"github.com/stepwatch/stepwatch/cmd"

	"example.com/gosteps/shop"
)

func main() { cmd.Main(shop.Steps) }
