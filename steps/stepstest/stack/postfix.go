//go:build linux

package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Postfix is one instance of Postfix, with a queue of its own.
type Postfix struct {
	*Server
	config string // directory
}

// Release lets it deliver what the host Holding kept.
func (p *Postfix) Release(ctx context.Context) error {
	if _, err := output(ctx, "/usr/sbin/postsuper", "-c", p.config, "-H", "ALL"); err != nil {
		return err
	}
	return p.Flush(ctx)
}

// Flush makes it try everything in the queue again now.
func (p *Postfix) Flush(ctx context.Context) error {
	_, err := output(ctx, "/usr/sbin/postqueue", "-c", p.config, "-f")
	return err
}

// ReleaseAfter waits until there is a message in the queue, and releases it when it has been there for hold.
func (p *Postfix) ReleaseAfter(ctx context.Context, hold time.Duration) error {
	if err := p.Queued(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(hold):
		return p.Release(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Queued waits until there is a message in the queue.
func (p *Postfix) Queued(ctx context.Context) error {
	pause := time.NewTicker(pollEvery)
	defer pause.Stop()
	for {
		if queue, err := p.Queue(ctx); err != nil || queue != "" {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return errors.New("nothing came into the queue of " + p.Name)
		}
	}
}

// Discard empties the queue, so that what a test kept from arriving does not arrive in the next one. postsuper reads one
// part of the queue after the other and misses a message that Postfix moves meanwhile, as each retry does. So Discard
// repeats until it has twice found nothing.
func (p *Postfix) Discard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	pause := time.NewTicker(pollEvery)
	defer pause.Stop()
	for empty := 0; empty < 2; {
		if _, err := output(ctx, "/usr/sbin/postsuper", "-c", p.config, "-d", "ALL"); err != nil {
			return err
		}
		queue, err := p.Queue(ctx)
		if err != nil {
			return err
		}
		if empty++; queue != "" {
			empty = 0
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("discard the queue of %s: it still has %s", p.Name, queue)
		}
	}
	return nil
}

// Config is the directory of its main.cf.
func (p *Postfix) Config() string { return p.config }

// Queue gives the queue: one JSON object a message, one a line (postqueue(1)).
func (p *Postfix) Queue(ctx context.Context) (string, error) {
	return output(ctx, "/usr/sbin/postqueue", "-c", p.config, "-j")
}

// Configure starts it again with these settings of main.cf ("name = value") instead of its own, until restore.
func (p *Postfix) Configure(ctx context.Context, settings ...string) (restore func() error, err error) {
	path := filepath.Join(p.config, "main.cf")
	good, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	with := func(ctx context.Context, content []byte) error {
		return errors.Join(os.WriteFile(path, content, 0o644), age(p.config), p.Stop(), p.Start(ctx))
	}
	bad := without(good, settings) + strings.Join(settings, "\n") + "\n"
	return func() error { return with(context.WithoutCancel(ctx), good) }, with(ctx, []byte(bad))
}

// without is main.cf (postconf(5)) less the parameters that the settings name. A parameter given twice makes every process warn
// of it when it starts, postlogd too; when its socket is already full of the others' warnings it waits for itself, and Postfix
// answers nobody.
func without(main []byte, settings []string) string {
	named := func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return slices.ContainsFunc(settings, func(setting string) bool {
			other, _, _ := strings.Cut(setting, "=")
			return strings.TrimSpace(other) == strings.TrimSpace(name)
		})
	}
	var kept strings.Builder
	var left bool
	for line := range strings.Lines(string(main)) {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") { // else it continues the one before
			left = named(line)
		}
		if !left {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
