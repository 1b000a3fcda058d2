// Package builtin links every room of sentences into the program: what imports it has the whole language.
//
// A new room is added to the imports here, and that is all that the program is told of it.
package builtin

import (
	"github.com/stepwatch/stepwatch/steps"

	// The rooms. Each registers its sentences and its settings when it is linked.
	_ "github.com/stepwatch/stepwatch/steps/command"
	_ "github.com/stepwatch/stepwatch/steps/dns"
	_ "github.com/stepwatch/stepwatch/steps/host"
	_ "github.com/stepwatch/stepwatch/steps/job"
	_ "github.com/stepwatch/stepwatch/steps/mail"
	_ "github.com/stepwatch/stepwatch/steps/mail/verdict"
	_ "github.com/stepwatch/stepwatch/steps/mailserver"
	_ "github.com/stepwatch/stepwatch/steps/network"
	_ "github.com/stepwatch/stepwatch/steps/service"
	_ "github.com/stepwatch/stepwatch/steps/web"
)

// Library returns the library of every sentence that stepwatch has. It is made once, when it is first asked for.
func Library() *steps.Library { return steps.Registered() }
