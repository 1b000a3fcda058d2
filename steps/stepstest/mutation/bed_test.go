package mutation_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/procfs"
	"github.com/stepwatch/stepwatch/steps/service"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// bed runs one sequence of dialogues. Its servers are those of the same number in the other process.
type bed struct {
	number int
	dir    string
	target *steps.Target
	runner *agent.Runner
	plans  map[string]*agent.Plan // by the name of the scenario
}

var library = sync.OnceValue(builtin.Library)

// newBeds returns the beds for the servers of a process. Their runs share an account of memory, as in the agent.
func newBeds(t testing.TB, p *process) (beds []*bed, memory *limit.Pool) {
	t.Helper()
	memory = limit.NewPool(max(procfs.Usable()/4, limit.RunMemory.Most))
	for i, addresses := range p.Addresses {
		beds = append(beds, newBed(t, p, i, addresses, memory))
	}
	return beds, memory
}

func newBed(t testing.TB, p *process, number int, addresses map[string]string, memory *limit.Pool) *bed {
	t.Helper()
	b := &bed{number: number, dir: p.bedDir(number), plans: make(map[string]*agent.Plan)}
	roots := func() (*x509.CertPool, error) {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(p.Roots) {
			return nil, errors.New("the servers have no authority")
		}
		return pool, nil
	}
	b.target = &steps.Target{Roots: sync.OnceValues(roots), ConnectTo: addresses, Resolver: addresses["ns.demo.test:53"], Accounts: make(map[string]*steps.Account),
		Hosts: make(map[string]*steps.Host), StateDir: filepath.Join(b.dir, stateDir)}
	b.target.Set(steps.Limits{All: memory})
	b.target.Set(service.Databases{})
	for name, read := range map[string]string{"alice": "", "bob": "imap", "carol": "", "dave": "", "erin": "pop3", "frank": "box"} {
		account := &steps.Account{Name: name, Address: name + "@demo.test", Username: name + "@demo.test", Password: "password", SMTP: "mail.demo.test"}
		switch read {
		case "imap":
			account.IMAP = "mail.demo.test"
		case "box":
			account.IMAP = "box.demo.test"
		case "pop3":
			account.POP3 = "mail.demo.test"
		}
		b.target.Accounts[name] = account
	}
	b.runner = &agent.Runner{Target: b.target, Secrets: stepstest.Secrets{"password": "wonderland", "key": "open sesame"},
		Name: filepath.Base(b.dir), CleanupTimeout: cleanupTimeout, Grace: grace}
	var text strings.Builder
	text.WriteString("Feature: Mutation\n")
	for _, p := range parts {
		if p.configure != nil {
			p.configure(b)
		}
		for i, lines := range p.scenarios {
			fmt.Fprintf(&text, "\nScenario: %s %d\n%s\n", p.name, i, strings.ReplaceAll(lines, "DIR", b.dir))
		}
	}
	path := filepath.Join(b.dir, "mutation.feature")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := features.Load([]string{path}, features.Options{})
	if err != nil {
		t.Fatal(err)
	}
	library := library()
	for _, s := range set.Scenarios() {
		p := agent.NewPlan(s, library, agent.Defaults{Timeout: time.Minute})
		for _, problem := range p.Problems {
			t.Fatal(problem)
		}
		b.plans[s.Label] = p
	}
	return b
}

// host returns a host of the target, which features call by its name.
func (b *bed) host(name string) *steps.Host {
	known := b.target.Hosts[name]
	if known == nil {
		known = &steps.Host{Name: name, Address: name + ".demo.test"}
		b.target.Hosts[name] = known
	}
	return known
}
