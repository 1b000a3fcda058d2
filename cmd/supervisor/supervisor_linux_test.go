package supervisor

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/stepwatch/stepwatch/agent/cucumber/hidepath"
)

func TestMain(m *testing.M) {
	hidepath.Restore()
	os.Exit(m.Run())
}

func TestSummary(t *testing.T) {
	for crash, want := range map[string]string{
		"panic: open sesame\n\ngoroutine 7 [running]:\ngithub.com/stepwatch/stepwatch/steps/mail.(*session).read(0xc000, 0x1)\n\t/x.go:1\n":                               "panic in steps/mail.(*session).read",
		"panic: runtime error: index out of range [2] with length 0 [recovered]\n":                                                                                        "panic: runtime error: index out of range [2] with length 0 [recovered]",
		"\ngoroutine 9 [running]:\ninternal/runtime/maps.fatal({0x4f5eec?, 0x0?})\n\t/x.go:1\ngithub.com/stepwatch/stepwatch/agent.(*Runner).Run(...)\n\t/x.go:1 +0x5e\n": "fatal error in agent.(*Runner).Run",
		"SIGABRT: abort\nPC=0x47 m=0 sigcode=0\n\ngoroutine 0 gp=0x1\n":                                                                                                   "SIGABRT: abort",
		"panic: runtime error: a|b\x1b[31m\n": "panic: runtime error: a b [31m",
		"panic: x\n\ngoroutine 1 [running]:\nmain.main.func1()\n\t/x.go:1\ncreated by github.com/stepwatch/stepwatch/cmd.Main in goroutine 1\n": "panic",
	} {
		if got := summary(crash); got != want {
			t.Errorf("%q: got %q, want %q", crash, got, want)
		}
	}
}

// TestNumbers holds that the numbers of this package are those of strconv.
func TestNumbers(t *testing.T) {
	for _, n := range []int{0, 7, 10, 4194304, math.MaxInt32, -15} {
		if got := itoa(n); got != fmt.Sprint(n) {
			t.Errorf("got %q, want %d", got, n)
		}
	}
	for text, want := range map[string]int{"": 0, "42": 42, "42 (sh)": 42, "self": 0, "0": 0} {
		if got := atoi(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
	if atoi("99999999999999999999999999") < 0 {
		t.Error("a long number overflows")
	}
}

func TestDescendants(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "sleep 60 & echo; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = out.Read(make([]byte, 1))
	if got := descendants(); !slices.Contains(got, cmd.Process.Pid) || len(got) < 2 || slices.Contains(got, os.Getpid()) {
		t.Errorf("got %v, want process %d and its child", got, cmd.Process.Pid)
	}
	for _, pid := range descendants() {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
	_ = cmd.Wait() // the error is the kill
}
