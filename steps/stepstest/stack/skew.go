//go:build linux

package stack

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// faketime is the library that tells a program a wrong time, or empty.
func faketime() string {
	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1") // the pattern is a good one
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// SkewUsable says why no clock can be made wrong, or nil.
func SkewUsable() error {
	if faketime() == "" {
		return errors.New("a clock that is wrong needs the Debian package libfaketime: run .ci/install")
	}
	return nil
}

// Skew starts Dovecot again with a clock that is wrong by so much, in whole seconds, until restore.
func (s *Stack) Skew(ctx context.Context, by time.Duration) (restore func() error, err error) {
	again := func(ctx context.Context, env ...string) error {
		if err := s.Dovecot.Stop(); err != nil {
			return err
		}
		s.Dovecot.env = env
		return s.Dovecot.Start(ctx)
	}
	restore = func() error { return again(context.WithoutCancel(ctx)) }
	return restore, again(ctx, "LD_PRELOAD="+faketime(), fmt.Sprintf("FAKETIME=%+d", int(by.Seconds())))
}
