// Package procfs reads load, memory and processes of the machine that stepwatch runs on from /proc (proc(5)). In a
// container most values are the machine's, but the processes are the container's own.
package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Root is the path of /proc on Linux.
const Root = "/proc"

// Reasons why it could not be read.
var (
	ErrUnsupported = errors.New("this system has no /proc like that of Linux")
	ErrFormat      = errors.New("unknown format")
	ErrHidden      = errors.New("the processes of other users are hidden (hidepid in /proc/mounts)")
)

// Load is the average number of processes that ran or wanted to run, over 1, 5 and 15 minutes (getloadavg(3)).
type Load struct {
	One, Five, Fifteen float64
	Cores              int // of the machine, even if we may use only some of them
}

// ReadLoad reads loadavg and stat below root.
func ReadLoad(root string) (Load, error) {
	text, err := read(root, "loadavg")
	if err != nil {
		return Load{}, err
	}
	stat, err := read(root, "stat")
	if err != nil {
		return Load{}, err
	}
	l := Load{Cores: cores(stat)}
	if l.Cores == 0 {
		return l, fmt.Errorf("stat: %w: it lists no core", ErrFormat)
	}
	fields := strings.Fields(string(text))
	if len(fields) < 3 {
		return l, fmt.Errorf("loadavg: %w", ErrFormat)
	}
	for i, value := range []*float64{&l.One, &l.Five, &l.Fifteen} {
		if *value, err = strconv.ParseFloat(fields[i], 64); err != nil || !(*value >= 0) {
			return l, fmt.Errorf("loadavg: %w: %.40q is not a load", ErrFormat, fields[i])
		}
	}
	return l, nil
}

// cores counts the lines "cpu0", "cpu1" and so on: one for each core that is online. The line "cpu" is their sum.
func cores(stat []byte) (n int) {
	for line := range bytes.Lines(stat) {
		if number, found := bytes.CutPrefix(line, []byte("cpu")); found && len(number) > 0 && number[0] >= '0' && number[0] <= '9' {
			n++
		}
	}
	return n
}

// Memory holds sizes in bytes.
type Memory struct {
	Total, Available    uint64 // Available is available to programs without swapping
	SwapTotal, SwapFree uint64
}

// Usable returns the memory in bytes that this process may use: that of its cgroup (memory.max of cgroup v2) or, if it is
// less, that of the machine. It returns 0 if neither can be read.
func Usable() int64 {
	var total int64
	if m, err := ReadMemory(Root); err == nil {
		total = int64(min(m.Total, 1<<62)) //nolint:gosec // bounded just here
	}
	group, err := os.ReadFile(Root + "/self/cgroup")
	if err != nil {
		return total
	}
	for line := range strings.Lines(string(group)) {
		path, found := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !found {
			continue
		}
		text, _ := os.ReadFile("/sys/fs/cgroup" + path + "/memory.max") // its absence or "max" is no limit
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && (total == 0 || n < total) {
			total = n
		}
	}
	return total
}

// ReadMemory reads meminfo below root.
func ReadMemory(root string) (Memory, error) {
	text, err := read(root, "meminfo")
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	wanted := map[string]*uint64{"MemTotal": &m.Total, "MemAvailable": &m.Available, "SwapTotal": &m.SwapTotal, "SwapFree": &m.SwapFree}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		into, found := wanted[name]
		if !found {
			continue
		}
		number, unit, _ := strings.Cut(strings.TrimSpace(value), " ")
		n, err := strconv.ParseUint(number, 10, 50)
		if err != nil || unit != "kB" {
			return m, fmt.Errorf("meminfo: %w: %s is %.40q", ErrFormat, name, strings.TrimSpace(value))
		}
		*into = n << 10
		delete(wanted, name)
	}
	if m.Total == 0 || len(wanted) > 0 || m.SwapFree > m.SwapTotal {
		return m, fmt.Errorf("meminfo: %w: a value is missing", ErrFormat)
	}
	return m, nil
}

// ReadUptime reads uptime below root: how long the machine has been running.
func ReadUptime(root string) (time.Duration, error) {
	text, err := read(root, "uptime")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil || !(seconds >= 0 && seconds < 1e10) {
		return 0, fmt.Errorf("uptime: %w: %.40q is not a number of seconds", ErrFormat, first)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// Process is a process that has not ended.
type Process struct {
	PID int
	UID uint32
}

// commLength is the number of bytes that the kernel keeps of a process' name.
const commLength = 15

// ReadProcesses returns the processes with a name below root. The name is that of the program, or of the script that an
// interpreter runs, as ps and pgrep show it, or the first word of the title that the process gives itself. A name with
// a slash is the path that started the process. Zombies do not count.
func ReadProcesses(root, name string) ([]Process, error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, absent(err)
	}
	entries, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, err
	}
	if !slices.Contains(entries, "1") && slices.Contains(entries, strconv.Itoa(os.Getpid())) {
		return nil, ErrHidden
	}
	var found []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry)
		if err != nil {
			continue
		}
		p, fits, err := readProcess(root, pid, name)
		if errors.Is(err, fs.ErrPermission) {
			return nil, ErrHidden
		}
		if err == nil && fits { // an unreadable process has ended meanwhile
			found = append(found, p)
		}
	}
	return found, nil
}

func readProcess(root string, pid int, name string) (p Process, fits bool, err error) {
	at := filepath.Join(root, strconv.Itoa(pid))
	status, err := os.ReadFile(at + "/status")
	if err != nil {
		return p, false, err
	}
	p.PID = pid
	comm, state := "", ""
	for line := range strings.Lines(string(status)) {
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		switch value = strings.TrimSpace(value); field {
		case "Name":
			comm = value
		case "State":
			state, _, _ = strings.Cut(value, " ")
		case "Uid": // real, effective, saved, of the file system
			if ids := strings.Fields(value); len(ids) > 1 {
				uid, err := strconv.ParseUint(ids[1], 10, 32)
				if err != nil {
					return p, false, ErrFormat
				}
				p.UID = uint32(uid)
			}
		}
	}
	if state == "Z" || state == "X" {
		return p, false, nil
	}
	if comm == name && len(name) <= commLength {
		return p, true, nil
	}
	line, err := os.ReadFile(at + "/cmdline")
	if err != nil {
		return p, false, err
	}
	return p, fitsCommand(line, name), nil
}

// fitsCommand reports whether a command line is that of a program with this name.
func fitsCommand(line []byte, name string) bool {
	args := strings.Split(string(bytes.TrimRight(line, "\x00")), "\x00")
	named := func(path string) bool {
		if strings.Contains(name, "/") {
			return path == name
		}
		return filepath.Base(path) == name
	}
	if named(args[0]) {
		return args[0] != ""
	}
	if title, _, _ := strings.Cut(args[0], " "); title != args[0] && strings.TrimSuffix(title, ":") == name {
		return true // the program sets its own title: "puma: cluster worker 0: 4242 [app]"
	}
	interpreter := strings.TrimRight(filepath.Base(args[0]), "0123456789.")
	if !slices.Contains([]string{"python", "perl", "ruby", "node", "php", "sh", "bash", "dash"}, interpreter) {
		return false
	}
	for _, arg := range args[1:] { // the first argument that is not an option is the script
		if !strings.HasPrefix(arg, "-") {
			return named(arg)
		}
	}
	return false
}

func read(root, name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, name))
	return text, absent(err)
}

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrUnsupported
	}
	return err
}
