package cmd

import (
	"github.com/spf13/pflag"

	"github.com/stepwatch/stepwatch/agent/apiclient"
)

// askFlags adds the flags that say how to log in to a running agent, and returns the options that they fill.
func askFlags(f *pflag.FlagSet) *apiclient.Options {
	var o apiclient.Options
	f.StringVar(&o.User, "user", "", "log in to the agent with this name; the password is in --password-file")
	f.StringVar(&o.PasswordFile, "password-file", "", "the file with the password of --user")
	f.StringVar(&o.Netrc, "netrc", "", "take the login to the agent from a file in the format of netrc instead")
	f.StringVar(&o.CA, "ca", "", "the file of the authorities that signed the agent's certificate (default: those of this machine)")
	f.StringVar(&o.Certificate, "cert", "", "the file with a client certificate, for an agent that wants one")
	f.StringVar(&o.Key, "key", "", "the file with the key of --cert (default: in the same file)")
	return &o
}
