// Command stepwatch runs Gherkin scenarios against live mail and web systems and times every step.
package main

import "github.com/stepwatch/stepwatch/cmd"

func main() { cmd.Main() }
