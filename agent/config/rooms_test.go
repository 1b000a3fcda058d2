package config

import _ "github.com/stepwatch/stepwatch/steps/builtin" // the whole language, as in the program
