package command_test

import _ "github.com/stepwatch/stepwatch/steps/builtin" // the whole language, as in the program
