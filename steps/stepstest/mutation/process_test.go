package mutation_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// The servers are a process of their own: this program, started again. So the memory of this process is that of the runs, without
// what the servers build and send.
const (
	dirVariable   = "STEPWATCH_MUTATION_SERVERS" // the directory of the servers
	countVariable = "STEPWATCH_MUTATION_BEDS"    // how many sequences of dialogues they serve
)

// TestMain is also the process of the servers.
func TestMain(m *testing.M) {
	if dir := os.Getenv(dirVariable); dir != "" {
		serveBeds(dir, must(strconv.Atoi(os.Getenv(countVariable))))
		return
	}
	os.Exit(m.Run())
}

// serveBeds serves until standard input ends, which it also does when the other process dies.
func serveBeds(dir string, count int) {
	ca := must(stepstest.NewCA("Mutation CA"))
	certificate := must(ca.Issue("*.demo.test", "demo.test", "127.0.0.1"))
	b := &Beds{setup: Setup{Roots: ca.PEM()}}
	for i := range count {
		b.add(bedDir(dir, i), certificate)
	}
	server := rpc.NewServer()
	if err := server.Register(b); err != nil {
		panic(err)
	}
	server.ServeConn(pipe{os.Stdin, os.Stdout})
	for _, s := range b.all {
		s.close()
	}
}

func bedDir(dir string, number int) string { return filepath.Join(dir, strconv.Itoa(number)) }

// pipe is both directions of a connection with another process.
type pipe struct {
	io.ReadCloser
	to io.WriteCloser
}

func (p pipe) Write(b []byte) (int, error) { return p.to.Write(b) }
func (p pipe) Close() error                { return errors.Join(p.to.Close(), p.ReadCloser.Close()) }

// Beds are what the process of the runs asks of that of the servers (package net/rpc).
type Beds struct {
	setup Setup
	all   []*servers
}

// Setup is where the servers are.
type Setup struct {
	Roots     []byte              // of their certificates, in PEM
	Addresses []map[string]string // of each bed: where "host:port" is
}

// Beginning says which dialogue begins in a bed.
type Beginning struct {
	Bed  int
	Part string // the protocol that is altered
	Seed uint64
	Wire bool // below TLS instead of above it
}

// Ending ends the dialogue of a bed.
type Ending struct {
	Bed   int
	Proof string // what a run that passed must have been sent
}

// Ended is what the servers did in a dialogue.
type Ended struct {
	Said    string // what was altered
	Changed bool   // something was
	Sent    bool   // the proof may have been sent
	Open    []string
	Faults  []string // what a server did not expect
}

func (b *Beds) add(dir string, certificate tls.Certificate) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		panic(err)
	}
	s := newServers(dir, certificate)
	b.all, b.setup.Addresses = append(b.all, s), append(b.setup.Addresses, s.addresses)
}

// Where says where the servers are.
func (b *Beds) Where(_ int, where *Setup) error { *where = b.setup; return nil }

// Begin begins a dialogue.
func (b *Beds) Begin(d Beginning, _ *int) error { return b.all[d.Bed].begin(d.Part, d.Seed, d.Wire) }

// End ends a dialogue.
func (b *Beds) End(e Ending, did *Ended) error {
	d, open := b.all[e.Bed].end()
	*did = Ended{Said: d.String(), Changed: d.Changed(), Sent: d.Sent(e.Proof), Open: open, Faults: d.faultsSoFar()}
	return nil
}

// Peak returns the largest resident memory of the servers in bytes.
func (b *Beds) Peak(_ int, bytes *int64) error { *bytes = peakMemory(); return nil }

// process is that of the servers, as that of the runs sees it.
type process struct {
	Setup
	dir    string
	cmd    *exec.Cmd
	client *rpc.Client
}

func startServers(t testing.TB, dir string, count int) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{dir: dir, cmd: exec.Command(self)} //nolint:gosec // this program
	p.cmd.Env = append(os.Environ(), dirVariable+"="+dir, countVariable+"="+strconv.Itoa(count))
	p.cmd.Stderr = os.Stderr
	to, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	from, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.client = rpc.NewClient(pipe{from, to})
	if err := p.client.Call("Beds.Where", 0, &p.Setup); err != nil {
		t.Fatal("the servers do not start: ", errors.Join(err, p.stop()))
	}
	return p
}

func (p *process) bedDir(number int) string { return bedDir(p.dir, number) }

func (p *process) begin(d Beginning) error { return p.client.Call("Beds.Begin", d, new(int)) }

func (p *process) end(e Ending) (did Ended, err error) {
	err = p.client.Call("Beds.End", e, &did)
	return did, err
}

// peak returns the largest resident memory of the servers in bytes, or 0 if it is not known.
func (p *process) peak() (bytes int64) {
	_ = p.client.Call("Beds.Peak", 0, &bytes)
	return bytes
}

// stop ends the process and waits for its end.
func (p *process) stop() error { return errors.Join(p.client.Close(), p.cmd.Wait()) }

// peakMemory returns the largest resident memory of this process so far in bytes, or 0 where that is not known.
func peakMemory() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	number, _, _ := strings.Cut(strings.TrimSpace(string(rest)), " ")
	kilobytes, _ := strconv.ParseInt(number, 10, 64)
	return kilobytes << 10
}
