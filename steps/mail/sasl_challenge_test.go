package mail

import (
	"testing"

	"github.com/stepwatch/stepwatch/steps"
)

// Whatever a server sends, a mechanism answers or returns an error.
func FuzzSASLChallenge(f *testing.F) {
	for _, challenge := range []string{"", "Username:", "<1896.697170952@mail.demo.test>", "r=x,s=YWJj,i=4096", "v=YWJj", "e=unknown-user", `{"status":"401"}`} {
		f.Add([]byte(challenge), []byte(challenge))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for name, begin := range saslMechanisms {
			client, err := begin("alice", steps.NewSecret("wonderland"), "mail.demo.test:587")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, challenge := range [][]byte{first, second} {
				if _, err := client.next(challenge); err != nil {
					break
				}
			}
			if client.finish != nil && client.finish() == nil {
				t.Fatalf("%s believes a server that knows nothing", name)
			}
		}
	})
}
