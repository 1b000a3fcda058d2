package procfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const stat = "cpu  9 9 9\ncpu0 3 3 3\ncpu1 3 3 3\ncpu11 3 3 3\nintr 5 cpu\n"

const meminfo = "MemTotal: 8000 kB\nMemFree: 100 kB\nMemAvailable: 2000 kB\nSwapTotal: 1000 kB\nSwapFree: 250 kB\n"

func TestRead(t *testing.T) {
	root := tree(t, map[string]string{"loadavg": "0.50 1.25 2.00 1/99 4242\n", "stat": stat, "meminfo": meminfo, "uptime": "3600.25 7000.00\n"})
	load, err := ReadLoad(root)
	if err != nil || load.One != 0.5 || load.Five != 1.25 || load.Fifteen != 2 || load.Cores != 3 {
		t.Errorf("got %+v, %v", load, err)
	}
	memory, err := ReadMemory(root)
	if want := (Memory{8000 << 10, 2000 << 10, 1000 << 10, 250 << 10}); err != nil || memory != want {
		t.Errorf("got %+v, %v", memory, err)
	}
	up, err := ReadUptime(root)
	if err != nil || up != time.Hour+250*time.Millisecond {
		t.Errorf("got %v, %v", up, err)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, text := range []string{"", "1 2", "a b c", "-1 1 1", "NaN 1 1"} {
		if _, err := ReadLoad(tree(t, map[string]string{"loadavg": text, "stat": stat})); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	if _, err := ReadLoad(tree(t, map[string]string{"loadavg": "1 1 1", "stat": "cpu  9\ncpu"})); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v", err)
	}
	for _, text := range []string{"", "MemTotal: 8 kB\n", "MemTotal: 8 MB\n", meminfo[:80], "MemTotal: 0 kB\nMemAvailable: 0 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"} {
		if _, err := ReadMemory(tree(t, map[string]string{"meminfo": text})); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	for _, text := range []string{"", "x 1", "-1 1", "Inf 1"} {
		if _, err := ReadUptime(tree(t, map[string]string{"uptime": text})); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	if _, err := ReadLoad(t.TempDir()); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

func TestReadProcesses(t *testing.T) {
	process := func(name, state, uid string) string {
		return "Name:\t" + name + "\nUmask:\t0022\nState:\t" + state + "\nUid:\t0\t" + uid + "\t0\t0\n"
	}
	root := tree(t, map[string]string{
		"1/status": process("systemd", "S (sleeping)", "0"), "1/cmdline": "/sbin/init\x00",
		"20/status": process("nginx", "S (sleeping)", "0"), "20/cmdline": "nginx: master process /usr/sbin/nginx\x00",
		"21/status": process("nginx", "R (running)", "33"), "21/cmdline": "nginx: worker process\x00",
		"22/status": process("nginx", "Z (zombie)", "33"), "22/cmdline": "",
		"30/status": process("python3", "S (sleeping)", "0"), "30/cmdline": "/usr/bin/python3\x00-u\x00/usr/bin/fail2ban-server\x00-f\x00",
		"40/status": process("prometheus-node", "S (sleeping)", "0"), "40/cmdline": "/usr/bin/prometheus-node-exporter\x00",
		"50/status": process("grep", "S (sleeping)", "0"), "50/cmdline": "grep\x00nginx\x00",
		"60/status": process("kworker/0:1", "I (idle)", "0"), "60/cmdline": "",
		"65/status": process("ruby3.1", "S (sleeping)", "33"), "65/cmdline": "puma: cluster worker 0: 61 [records]\x00",
		"66/status": process("ruby3.1", "S (sleeping)", "33"), "66/cmdline": "puma 6.4.2 (tcp://0.0.0.0:3000) [records]\x00",
		"67/status": process("vi", "S (sleeping)", "33"), "67/cmdline": "vi\x00puma: notes\x00",
		"70/comm": "nginx\n", // it ended meanwhile
	})
	for name, want := range map[string][]Process{
		"nginx":                             {{20, 0}, {21, 33}},
		"fail2ban-server":                   {{30, 0}},
		"python3":                           {{30, 0}},
		"prometheus-node-exporter":          {{40, 0}},
		"/usr/bin/prometheus-node-exporter": {{40, 0}},
		"prometheus-node-exporter-x":        nil,
		"kworker/0:1":                       {{60, 0}},
		"puma":                              {{65, 33}, {66, 33}},
		"apache2":                           nil,
		"":                                  nil,
	} {
		got, err := ReadProcesses(root, name)
		if err != nil || len(got) != len(want) {
			t.Errorf("%q: got %v, %v", name, got, err)
			continue
		}
		seen := make(map[Process]bool)
		for _, p := range got {
			seen[p] = true
		}
		for _, p := range want {
			if !seen[p] {
				t.Errorf("%q: got %v, want %v", name, got, want)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(meminfo)
	f.Add("0.1 0.2 0.3 1/2 3")
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{"loadavg", "stat", "meminfo", "uptime"} {
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if m, err := ReadMemory(root); err == nil && m.Total == 0 {
			t.Errorf("got %+v of %q", m, text)
		}
		if l, err := ReadLoad(root); err == nil && !(l.Five >= 0) {
			t.Errorf("got %+v of %q", l, text)
		}
		if d, err := ReadUptime(root); err == nil && d < 0 {
			t.Errorf("got %v of %q", d, text)
		}
	})
}
