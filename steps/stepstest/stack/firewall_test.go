//go:build linux

package stack_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// behind is a firewall before the host Changing: 993 is dropped, 995 refused by a reset and 143 by ICMP, and of 110 a router
// says that there is no way. Nothing listens on 81 anyway.
const behind = `
table inet stepwatch {
  chain input {
    type filter hook input priority 0;
    ip daddr 127.0.0.13 tcp dport 993 drop
    ip daddr 127.0.0.13 tcp dport 995 reject with tcp reset
    ip daddr 127.0.0.13 tcp dport 143 reject
    ip daddr 127.0.0.13 tcp dport 110 reject with icmpx admin-prohibited
  }
}
`

// firewalled is Changing behind that firewall, in these namespaces alone.
func firewalled(t *testing.T) fault {
	t.Helper()
	needPackage(t, "nftables")
	if code, out := execute(t, stack.NftProgram, "list", "ruleset"); code != 0 {
		t.Skip("this kernel has no rules for packets: " + out)
	}
	nft := func(ctx context.Context, rules string) error {
		cmd := exec.CommandContext(ctx, stack.NftProgram, "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("set rules: %w: %s", err, out)
		}
		return nil
	}
	return func(ctx context.Context) (func() error, error) {
		return func() error { return nft(context.WithoutCancel(ctx), "delete table inet stepwatch") }, nft(ctx, behind)
	}
}

// TestPortsBehindAFirewall has a kernel's own firewall between stepwatch and the servers.
func TestPortsBehindAFirewall(t *testing.T) {
	s := need(t)
	to, _ := target(t, s, stack.Mail)
	host := stack.Changing
	ports := `the ports of "` + host + `" are` + "\n| port | state |\n| 25 | open |\n| 993 | "
	rows := []struct{ text, want string }{
		{`port 993 of "` + host + `" is filtered`, ""},
		{`port 993 of "` + host + `" is closed`, ""},
		{`port 993 of "` + host + `" is refused`, "port 993 of changing.example.test is filtered, wanted refused (no answer within 3s: filtered, or the host is down at 127.0.0.13:993) (unexpected, blame access)"},
		{`port 995 of "` + host + `" is refused`, ""},
		{`port 995 of "` + host + `" is filtered`, "port 995 of changing.example.test is refused, wanted filtered (refused: nothing listens, or a firewall rejects it at 127.0.0.13:995) (unexpected, blame access)"},
		{`port 995 of "` + host + `" is open`, "port 995 of changing.example.test is not open: refused: nothing listens, or a firewall rejects it (127.0.0.13:995) (connect, blame access)"},
		{`port 143 of "` + host + `" is refused`, ""},
		{`port 143 of "` + host + `" is filtered`, "port 143 of changing.example.test is refused, wanted filtered (refused: nothing listens, or a firewall rejects it at 127.0.0.13:143) (unexpected, blame access)"},
		{`port 110 of "` + host + `" is filtered`, ""},
		{`port 110 of "` + host + `" is refused`, "port 110 of changing.example.test is filtered, wanted refused (a router or firewall reports that it is unreachable at 127.0.0.13:110) (unexpected, blame access)"},
		{`port 110 of "` + host + `" is open`, "port 110 of changing.example.test is not open: a router or firewall reports that it is unreachable (127.0.0.13:110) (timeout, blame network)"},
		{ports + "filtered |\n| 995 | refused |\n| 143 | refused |\n| 110 | filtered |\n| 81 | refused |", ""},
		{ports + "refused |\n| 995 | filtered |", "port 993 of changing.example.test is filtered, wanted refused (no answer within 3s: filtered, or the host is down at 127.0.0.13:993); " +
			"port 995 of changing.example.test is refused, wanted filtered (refused: nothing listens, or a firewall rejects it at 127.0.0.13:995) (unexpected, blame access)"},
		{`only ports 25, 443 of "` + host + `" answer among 81, 110, 143, 993, 995`, ""},
		{`only ports 25, 993 of "` + host + `" answer among 110, 995`, "port 993 of changing.example.test does not answer (no answer within 1.5s: filtered, or the host is down), wanted 25, 993 (connect, blame target)"},
		{`only ports 25, 995 of "` + host + `" answer among 110, 993`, "port 995 of changing.example.test does not answer (refused: nothing listens, or a firewall rejects it), wanted 25, 995 (connect, blame target)"},
		{`only ports 25 of "` + host + `" answer among 443, 465, 993, 995`, "port 443 answers, port 465 answers of changing.example.test, wanted only 25: stop what listens there, or block it in the firewall (unexpected, blame network)"},
	}
	firewalled(t).while(t, func() {
		var all sync.WaitGroup // most of the time is waiting
		for _, row := range rows {
			all.Go(func() {
				if got := told(t, to, row.text); got != row.want {
					t.Errorf("%s:\ngot  %s\nwant %s", row.text, got, row.want)
				}
			})
		}
		all.Wait()
	})
	for _, port := range []string{"110", "143", "993", "995"} { // and without it
		if got := told(t, to, "port "+port+` of "`+host+`" is open`); got != "" {
			t.Error(got)
		}
	}
}
