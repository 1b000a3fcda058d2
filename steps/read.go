package steps

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// FailDenied reports that stepwatch may not read something, which proves nothing about it.
func FailDenied(act string, err error) error {
	path := &fs.PathError{}
	if errors.As(err, &path) {
		return Fail(result.ReasonConfig, result.BlameMonitor, "%s: stepwatch may not read %s: let its user read it (by a group, or by setfacl -m u:stepwatch:rX)", act, path.Path)
	}
	return Fail(result.ReasonConfig, result.BlameMonitor, "%s: %w", act, err)
}

// ClockTolerance is how far in the future a file's time may be: file servers have their own clocks.
const ClockTolerance = time.Minute

// ReadFile reads a file named in a scenario. An error is a Failure with its blame.
func ReadFile(path string, limit int64) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // opening a pipe can block forever
		return nil, Fail(result.ReasonConfig, result.BlameScenario, "%q is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, missingFile(path, err)
	}
	defer func() { _ = f.Close() }() // only read
	read, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, Fail(result.ReasonConfig, result.BlameScenario, "%w", err)
	}
	if int64(len(read)) > limit {
		return nil, FailScenario("the file %q is larger than the limit of %d bytes", path, limit)
	}
	return read, nil
}
