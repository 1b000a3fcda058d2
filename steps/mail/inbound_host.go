package mail

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
)

func init() {
	const does = "Waits until the last message sent to this account is in its INBOX as this host shows it. The host need not be the account's own: it may be a proxy in front of many servers, a " +
		"server behind it, or the old host of a move. The login is the account's. The host is a name under hosts in stepwatch.yml or a server name, with an optional port after a colon; the default port is %d. "
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `{account} receives it over IMAP at {text} within {duration}`, Pattern: `^"([^"]+)" receives it over IMAP at "([^"]+)" within {duration}$`,
			Does:     fmt.Sprintf(does, address.PortIMAPS) + "Port 993 is TLS from the first byte; 143 and any other port require STARTTLS. Fails like \"receives it over IMAP\". The message is removed afterwards.",
			Measures: "The same as \"receives it over IMAP\".",
			Example:  `Then "bob" receives it over IMAP at "proxy" within 60s`,
			Waits:    true,
			Prepare: func(ctx context.Context, w *steps.World, a steps.Args) {
				if box, _, err := mailboxAtHost(w, a); err == nil { // the step itself reports a wrong argument
					box.prepare(ctx)
				}
			},
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
				box, within, err := mailboxAtHost(w, a)
				if err != nil {
					return err
				}
				return box.receive(ctx, within)
			},
		},
		steps.Definition{
			Area: "mail", Sentence: `{account} receives it over POP3 at {text} within {duration}`, Pattern: `^"([^"]+)" receives it over POP3 at "([^"]+)" within {duration}$`,
			Does:     fmt.Sprintf(does, address.PortPOP3S) + "Port 995 is TLS from the first byte; 110 and any other port require STLS. Fails like \"receives it over POP3\". The message is removed afterwards.",
			Measures: "The same as \"receives it over POP3\".",
			Example:  `Then "bob" receives it over POP3 at "proxy.example.org:110" within 60s`,
			Waits:    true,
			Prepare: func(ctx context.Context, w *steps.World, a steps.Args) {
				if box, _, err := pop3AtHost(w, a); err == nil { // the step itself reports a wrong argument
					box.prepare(ctx)
				}
			},
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
				box, within, err := pop3AtHost(w, a)
				if err != nil {
					return err
				}
				return box.receive(ctx, within)
			},
		},
	)
}

func mailboxAtHost(w *steps.World, a steps.Args) (box *mailbox, within time.Duration, err error) {
	account, host, port, within, err := waitAtHost(w, a, address.PortIMAPS)
	if err != nil {
		return nil, 0, err
	}
	return steps.State[Session](w).mailboxAt(w, account, host, port), within, nil
}

func pop3AtHost(w *steps.World, a steps.Args) (box *pop3Mailbox, within time.Duration, err error) {
	account, host, port, within, err := waitAtHost(w, a, address.PortPOP3S)
	if err != nil {
		return nil, 0, err
	}
	return pop3At(w, account, host, port), within, nil
}

// waitAtHost reads the parameters of a step that waits for mail at a host.
func waitAtHost(w *steps.World, a steps.Args, otherwise int) (account *steps.Account, host string, port int, within time.Duration, err error) {
	if account, err = w.Target().Account(a.Text(0)); err != nil {
		return nil, "", 0, 0, err
	}
	host, port = a.Text(1), otherwise
	if name, number, err := net.SplitHostPort(host); err == nil {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 {
			return nil, "", 0, 0, steps.FailScenario("%q is not a port: write the host as \"proxy.example.org\" or \"proxy.example.org:143\"", number)
		}
		host, port = name, int(n)
	}
	within, err = a.Duration(2)
	return account, w.Target().AddressOf(host), port, within, err
}
