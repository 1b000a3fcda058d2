package program_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/program"
	"go.uber.org/goleak"
)

// programs is how many programs TestKilled runs at once.
const programs = 20

// TestMain is also the process that runs programs and is then killed.
func TestMain(m *testing.M) {
	if dir, is := os.LookupEnv("PROGRAM_TEST_DIR"); is {
		for i := range programs {
			go func() {
				_, _ = program.Run(context.Background(), shell("echo $$ > "+filepath.Join(dir, strconv.Itoa(i))+"; exec sleep 300"))
			}()
		}
		// Threads end all the time: a program must not end with the thread on which it was started.
		for {
			go runtime.LockOSThread()
			time.Sleep(time.Millisecond)
		}
	}
	goleak.VerifyTestMain(m)
}

// TestKilled kills a process that runs programs. They run until then, and end with it.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "PROGRAM_TEST_DIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	pids := make(map[int]bool)
	for deadline := time.Now().Add(20 * time.Second); len(pids) < programs; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d programs run", len(pids), programs)
		}
		for i := range programs {
			text, _ := os.ReadFile(filepath.Join(dir, strconv.Itoa(i)))
			if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				pids[pid] = true
			}
		}
	}
	t.Cleanup(func() {
		for pid := range pids {
			if ended(pid) != nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	time.Sleep(time.Second) // in which a thousand threads end
	for pid := range pids {
		if err := syscall.Kill(pid, 0); err != nil {
			t.Errorf("program %d has ended already: %v", pid, err)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // the error is the kill
	var errs []error
	for pid := range pids {
		errs = append(errs, ended(pid))
	}
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}
