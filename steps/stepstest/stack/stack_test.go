//go:build linux

package stack_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// The stack that all tests share, and the programs under test.
var (
	servers   *stack.Stack
	absent    error // why there is no stack
	stepwatch string
	stackctl  string
)

// programs is the environment variable that tells the tests in the namespaces where the programs were built: outside,
// because a build may need the network.
const programs = "STEPWATCH_STACK_PROGRAMS"

func TestMain(m *testing.M) {
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "stack tests:", err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (code int, err error) {
	if stack.Inside() {
		return testInside(m)
	}
	if absent = stack.Usable(); absent != nil {
		return m.Run(), nil
	}
	syscall.Umask(0o022) // Nagios runs stepwatch as a user of its own
	dir, err := os.MkdirTemp("", "stepwatch-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	build := exec.Command("go", "build", "-o", dir+"/", "../../../cmd/stepwatch", "./stackctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped, and as go vet compiled it before
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return 0, fmt.Errorf("build the programs under test: %w", err)
	}
	if !divisible() {
		return stack.Enter(programs + "=" + dir)
	}
	return enterParts(dir)
}

// divisible reports whether the tests may run in several processes: whether nothing was asked for that concerns one process, as a
// choice of tests and a profile do.
func divisible() bool {
	flag.Parse()
	yes := true
	flag.Visit(func(f *flag.Flag) {
		switch strings.TrimPrefix(f.Name, "test.") {
		case "v", "count", "timeout", "paniconexit0", "testlogfile":
		default:
			yes = false
		}
	})
	return yes
}

// enterParts runs the parts of the tests at the same time. The output of the later parts follows that of the first.
func enterParts(dir string) (code int, err error) {
	codes, errs := make([]int, len(parts)), make([]error, len(parts))
	var all sync.WaitGroup
	for i := range parts {
		all.Go(func() { codes[i], errs[i] = stack.Enter(programs+"="+dir, part+"="+strconv.Itoa(i)) })
	}
	all.Wait()
	code, err = slices.Max(codes), errors.Join(errs...)
	for i := range parts[1:] {
		said, openErr := os.Open(outputOf(dir, i+1))
		if openErr != nil { // it did not get that far
			err = errors.Join(err, openErr)
			continue
		}
		_, copyErr := io.Copy(os.Stdout, said)
		err = errors.Join(err, copyErr, said.Close())
	}
	return code, err
}

func outputOf(dir string, i int) string { return filepath.Join(dir, "part"+strconv.Itoa(i)) }

// part is the environment variable that tells the tests in the namespaces which of parts to run; all of them without it.
const part = "STEPWATCH_STACK_PART"

// parts are the tests that have a stack of their own when all tests run. The first part has those that no other names: mail that
// is sent and received. The second has what is told of the mail (logs, queues, alerts, monitors), and what is not mail, and takes
// equally long. The third mostly waits for servers. Each stack has its namespaces, so no part sees anything of another.
var parts = [][]string{
	nil,
	{
		"TestQueueAlerts", "TestQueueThatCannotBeRead", "TestEximQueueAlerts", "TestAPIAndExporterAlerts", "TestAgentWaitsForNoDisk", "TestDiskAlert", "TestBanAlerts",
		"TestMailLogsOfRealServers", "TestMailLogRotatedWhileRead", "TestAlertsOfTheMailLog", "TestFollowingAMessageInTheLog", "TestMailLogThatMayNotBeRead",
		"TestMailLogBySyslog", "TestMailLogInTheJournal",
		"TestPrometheusScrapesTheAgent", "TestNagiosRunsThePlugin", "TestNagiosShowsAnAlert",
		"TestCertificateFaultsOfRealServers", "TestServedCertificate", "TestFingerprintAsOpenSSL", "TestTimesAsBlackboxExporter",
		"TestCertificateFaultsOfEachProtocol", "TestStapledByNginx",
		"TestShippedFeaturesOfTheWeb", "TestFilesOfNginx", "TestProxiesOfApache", "TestDatabases", "TestDNS", "TestDNSFaults", "TestDNSEqualsDig",
	},
	{"TestMailservers", "TestOpenSMTPDQueue"},
}

// choose has m.Run run the part that this process is for.
func choose(which string) error {
	if which == "" {
		return nil
	}
	i, err := strconv.Atoi(which)
	if err != nil {
		return err
	}
	flag.Parse()
	if i == 0 {
		return flag.Set("test.skip", only(slices.Concat(parts...)))
	}
	said, err := os.Create(outputOf(os.Getenv(programs), i))
	if err != nil {
		return err
	}
	defer said.Close()
	for _, stream := range []*os.File{os.Stdout, os.Stderr} {
		if err := unix.Dup2(int(said.Fd()), int(stream.Fd())); err != nil {
			return err
		}
	}
	return errors.Join(flag.Set("test.run", only(parts[i])), flag.Set("test.testlogfile", "")) // the first part writes it
}

// only is the pattern of these tests.
func only(names []string) string { return "^(" + strings.Join(names, "|") + ")$" }

func testInside(m *testing.M) (code int, err error) {
	which := os.Getenv(part)
	if err := choose(which); err != nil {
		return 0, fmt.Errorf("choose the tests: %w", err)
	}
	stepwatch = filepath.Join(os.Getenv(programs), "stepwatch")
	stackctl = filepath.Join(os.Getenv(programs), "stackctl")
	temporary := filepath.Join(os.Getenv(programs), "tmp"+which)
	if err := os.Mkdir(temporary, 0o755); err != nil {
		return 0, err
	}
	os.Setenv("TMPDIR", temporary)
	os.Setenv("XDG_STATE_HOME", filepath.Join(temporary, "state")) // no test finds what others failed with
	if servers, err = stack.Start(context.Background(), filepath.Join(stack.RunDir, "stack")); err != nil {
		return 0, err
	}
	stack.Leave() // tests start stacks of their own beside this one
	code = m.Run()
	if err := servers.Close(); err != nil {
		return code, err
	}
	http.DefaultClient.CloseIdleConnections()
	return code, goleak.Find()
}

// need gives the stack, or skips the test and says why. The test is held to leave the stack as it found it.
func need(t *testing.T) *stack.Stack {
	t.Helper()
	if absent != nil {
		t.Skip(absent)
	}
	if name, _, within := strings.Cut(t.Name(), "/"); !within && name != tidied {
		tidied = name
		t.Cleanup(func() { tidy(t) })
	}
	return servers
}

// tidied is the test that is held to it already.
var tidied string

// tidy fails a test that leaves mail behind, which the next one would take for its own, and throws that away.
func tidy(t *testing.T) {
	t.Helper()
	defer func() { // settle may end the test
		for _, postfix := range []*stack.Postfix{servers.Postfix, servers.Relay, servers.MX, servers.Store} {
			if postfix == nil || len(undelivered(t)) == 0 { // one that has just started has no log yet, without which postsuper fails
				continue
			}
			if err := postfix.Discard(context.Background()); err != nil {
				t.Error(err)
			}
		}
		for _, path := range delivered(t) {
			t.Errorf("left behind: %s:\n%s", path, readLog(t, path))
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
		}
	}()
	settle(t)
}

// delivered lists the messages in all folders of all mailboxes.
func delivered(t *testing.T) []string {
	t.Helper()
	var messages []string
	for _, pattern := range []string{"mail/*/Maildir/[nc][eu][wr]/*", "mail/*/Maildir/.*/[nc][eu][wr]/*"} {
		found, err := filepath.Glob(filepath.Join(servers.Dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, found...)
	}
	return messages
}

// logs shows what the servers said, when the test failed.
func logs(t *testing.T, names ...string) {
	t.Helper()
	t.Cleanup(func() {
		for _, name := range names {
			if content, err := os.ReadFile(filepath.Join(servers.Dir, "log", name)); err == nil && t.Failed() {
				lines := strings.Split(strings.TrimSpace(string(content)), "\n")
				t.Logf("log of %s ends:\n%s", name, strings.Join(lines[max(0, len(lines)-15):], "\n"))
			}
		}
	})
}

// write makes a file that every user can read.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(shared(t), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// shared is a directory for the test that every user can enter, unlike t.TempDir.
func shared(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// execute runs a program to its end and gives its exit code and what it printed.
func execute(t *testing.T, program string, args ...string) (code int, output string) {
	t.Helper()
	return executeAs(t, 0, program, args...)
}

// executeAs does that as another user.
func executeAs(t *testing.T, uid uint32, program string, args ...string) (code int, output string) {
	t.Helper()
	return executeWithin(t, 60*time.Second, uid, program, args...)
}

// executeWithin does that within another limit.
func executeWithin(t *testing.T, limit time.Duration, uid uint32, program string, args ...string) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || !cmd.ProcessState.Exited() {
		t.Fatalf("run %s: %v\n%s", filepath.Base(program), err, out)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// eventually repeats found until it says yes or the limit is over. It rests for 20 ms in between, and longer when found takes long
// itself, so that asking does not hold up what is waited for.
func eventually(t *testing.T, limit time.Duration, what string, found func() bool) {
	t.Helper()
	const least, most, share = 20 * time.Millisecond, 200 * time.Millisecond, 4
	deadline := time.After(limit)
	for {
		start := time.Now()
		if found() {
			return
		}
		select {
		case <-time.After(max(least, min(most, share*time.Since(start)))):
		case <-deadline:
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func TestServersStopAndStartAgain(t *testing.T) {
	s := need(t)
	for _, server := range []*stack.Server{s.Postfix.Server, s.Dovecot, s.OpenDKIM, s.Nginx} {
		logs(t, server.Name)
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		if server.Running() {
			t.Errorf("%s runs after Stop", server.Name)
		}
		if err := server.Start(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestServerThatDoesNotComeUpShowsItsLog(t *testing.T) {
	s := need(t)
	config := filepath.Join(s.Dir, "etc/nginx.conf")
	good, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Nginx.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("mistake;"), 0o644); err != nil {
		t.Fatal(err)
	}
	err = s.Nginx.Start(t.Context())
	for _, part := range []string{"start nginx: it ended by itself: exit status 1", `unknown directive "mistake"`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want %q in it", err, part)
		}
	}
	if err := os.WriteFile(config, good, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Nginx.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// mounts is the mount table of these namespaces.
func mounts(t *testing.T) string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return string(table)
}

// processes lists the command lines that hold text; a command line begins with NUL here, and so does each argument.
func processes(t *testing.T, text string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && strings.Contains("\x00"+string(line), text) {
			lines = append(lines, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return lines
}

func TestNothingOutlivesAKilledParent(t *testing.T) {
	need(t)
	before, dir := mounts(t), filepath.Join(shared(t), "killed")
	cmd := exec.Command(stackctl, "run", "--dir", dir, "--", "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	command := "\x00sleep\x001000\x00"
	runs := func() bool {
		return slices.ContainsFunc(processes(t, command), func(line string) bool { return strings.HasPrefix(line, "sleep ") })
	}
	eventually(t, 10*time.Second, "the second stack runs its command", runs)
	if len(processes(t, dir)) < 5 {
		t.Errorf("only these processes name %s: %q", dir, processes(t, dir))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	eventually(t, 2*time.Second, "every process is gone", func() bool { return len(processes(t, dir)) == 0 && len(processes(t, command)) == 0 })
	if after := mounts(t); after != before {
		t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
	}
}

func TestUpAndDown(t *testing.T) {
	need(t)
	before, dir := mounts(t), filepath.Join(shared(t), "up")
	if code, out := execute(t, stackctl, "up", "--dir", dir); code != 0 {
		t.Fatalf("up: exit code %d: %s", code, out)
	}
	if code, out := execute(t, stackctl, "run", "--dir", dir, "--", "sh", "-c", `test -r "$STACK_DIR/stepwatch.yml"; exit 7`); code != 7 {
		t.Errorf("run in a running stack: exit code %d, want the command's 7: %s", code, out)
	}
	if code, out := execute(t, stackctl, "run", "--dir", dir); code != 1 || !strings.Contains(out, "runs the servers of") {
		t.Errorf("run a second time: exit code %d: %s", code, out)
	}
	if code, out := execute(t, stackctl, "down", "--dir", dir); code != 0 {
		t.Errorf("down: exit code %d: %s", code, out)
	}
	if left := processes(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if code, out := execute(t, stackctl, "down", "--dir", dir); code != 1 || !strings.Contains(out, "no servers run in") {
		t.Errorf("down a second time: exit code %d: %s", code, out)
	}
	if after := mounts(t); after != before {
		t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
	}
}

func TestStartThatFailsLeavesNothing(t *testing.T) {
	need(t)
	dir := filepath.Join(shared(t), "failed")
	// A file where Dovecot is to make its directory.
	if err := os.MkdirAll(filepath.Join(dir, "dovecot", "lmtp"), 0o755); err != nil {
		t.Fatal(err)
	}
	code, out := execute(t, stackctl, "run", "--dir", dir, "--", "true")
	if code != 1 || !strings.Contains(out, "stack: start dovecot: ") || !strings.Contains(out, "log/dovecot ends:") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if left := processes(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// readLog is the whole of a log.
func readLog(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
