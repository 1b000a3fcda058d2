package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/disk"
	"github.com/stepwatch/stepwatch/steps/fail2ban"
)

// Sentences about the machine that stepwatch itself runs on.

func init() {
	steps.RegisterArea(steps.Area{Name: "host", Title: "Hosts", Place: 90})
	steps.Register(
		steps.Definition{
			Area: "host", Sentence: `the disk of {text} is less than {number}% full`,
			Does: "Fails when the file system of this file or directory, on the machine that stepwatch runs on, is that full or fuller. " +
				"It counts as df does: space reserved for root is not free.",
			Measures: "Measurements host_disk_used_ratio (0 to 1) and host_disk_free_bytes.",
			Example:  `Then the disk of "/var/spool" is less than 80% full`,
			Func:     diskIsLessFull,
		},
		steps.Definition{
			Area: "host", Sentence: `the disk of {text} has used less than {number}% of its inodes`,
			Does:     "Fails when the file system of this file or directory has used that share of its inodes or more. Without free inodes it can hold no more files, even with free space.",
			Measures: "Measurement host_disk_inodes_used_ratio (0 to 1).",
			Example:  `Then the disk of "/var/spool" has used less than 80% of its inodes`,
			Func:     diskHasInodes,
		},
		steps.Definition{
			Area: "host", Sentence: `I read the bans of fail2ban's jail {text}`,
			Does: "Asks fail2ban on the machine that stepwatch runs on which addresses this jail has banned. It runs fail2ban-client, which only root may use. " +
				"The sentences about bans follow.",
			Measures: "Time of fail2ban-client. Measurements fail2ban_banned_addresses and fail2ban_failed_addresses (recent failures, not yet banned).",
			Example:  `When I read the bans of fail2ban's jail "sshd"`,
			Func:     readBans,
		},
		steps.Definition{
			Area: "host", Sentence: `fewer than {int} addresses are banned`,
			Does:    "Fails when the jail has banned that many addresses or more.",
			Example: `Then fewer than 50 addresses are banned`,
			Func:    fewerAreBanned,
		},
		steps.Definition{
			Area: "host", Sentence: `{text} is banned`,
			Does:    "Fails unless the jail has banned this address.",
			Example: `Then "192.0.2.1" is banned`,
			Func:    judgeBan(true),
		},
		steps.Definition{
			Area: "host", Sentence: `{text} is not banned`,
			Does:    "Fails when the jail has banned this address, such as that of your office.",
			Example: `Then "192.0.2.1" is not banned`,
			Func:    judgeBan(false),
		},
	)
}

func readDisk(w *steps.World, a steps.Args) (usage disk.Usage, limit float64, err error) {
	limit, err = a.Number(1)
	if err != nil || limit <= 0 || limit > 100 {
		return usage, 0, steps.FailScenario("%s%% of a disk is not a limit: give one from 1%% to 100%%", a.Text(1))
	}
	usage, err = disk.Read(a.Text(0))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = steps.Fail(result.ReasonConfig, result.BlameScenario, "the machine has no %q: name a file or directory on that disk", a.Text(0))
	case err != nil:
		err = steps.Fail(result.ReasonConfig, result.BlameMonitor, "read how full the disk of %q is: %w", a.Text(0), err)
	}
	return usage, limit, err
}

// diskIsLessFull does not return when ctx ends. A call that hangs on a dead network file system cannot be ended, and a
// new one each minute would use up the machine's threads. The run's watchdog abandons it and starts no other until it
// returns.
func diskIsLessFull(_ context.Context, w *steps.World, a steps.Args) error {
	usage, limit, err := readDisk(w, a)
	if err != nil {
		return err
	}
	w.Measure("host_disk_used_ratio", "Used share of the disk, from 0 to 1, as df counts it.", usage.Bytes.Ratio())
	w.Measure("host_disk_free_bytes", "Free bytes of the disk for users other than root.", float64(usage.Bytes.Free))
	return judgeShare(w, a, usage.Bytes, limit, "full, wanted less than", fmt.Sprintf("%d MB free", usage.Bytes.Free>>20))
}

func diskHasInodes(_ context.Context, w *steps.World, a steps.Args) error {
	usage, limit, err := readDisk(w, a)
	if err != nil {
		return err
	}
	if usage.Inodes == (disk.Share{}) {
		return steps.FailScenario("the disk of %q does not count inodes: leave this step out", a.Text(0))
	}
	w.Measure("host_disk_inodes_used_ratio", "Used share of the disk's inodes, from 0 to 1.", usage.Inodes.Ratio())
	return judgeShare(w, a, usage.Inodes, limit, "of its inodes used, wanted less than", fmt.Sprintf("%d inodes free", usage.Inodes.Free))
}

func judgeShare(w *steps.World, a steps.Args, share disk.Share, limit float64, wanted, left string) error {
	percent := 100 * share.Ratio()
	if percent >= limit {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the disk of %q is %.1f%% %s %s%% (%s)", a.Text(0), percent, wanted, a.Text(1), left)
	}
	w.Note(fmt.Sprintf("%.1f%% used, %s", percent, left))
	return nil
}

// bans holds the jail that the scenario read last.
type bans struct {
	jail string // empty until a jail is read
	read *fail2ban.Jail
}

func readBans(ctx context.Context, w *steps.World, a steps.Args) error {
	b := steps.State[bans](w)
	*b = bans{}
	name := a.Text(0)
	jail, err := fail2ban.Read(ctx, name)
	act := fmt.Sprintf("read the bans of fail2ban's jail %q", name)
	switch {
	case errors.Is(err, fail2ban.ErrNoJail):
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "%s: %w: \"fail2ban-client status\" lists the jails", act, err)
	case errors.Is(err, fail2ban.ErrDenied):
		return steps.Fail(result.ReasonConfig, result.BlameMonitor, "%s: %w", act, err)
	case errors.Is(err, fail2ban.ErrDown):
		return steps.Fail(result.ReasonConnect, result.BlameTarget, "%s: %w, so password guessing is not blocked", act, err)
	case errors.Is(err, fail2ban.ErrFormat):
		return steps.Fail(result.ReasonProtocol, result.BlameTarget, "%s: %w", act, err)
	case ctx.Err() != nil && err != nil:
		return steps.FailNet(ctx, err, result.BlameTarget, act)
	case err != nil:
		return steps.Fail(result.ReasonConfig, result.BlameMonitor, "%s: %w", act, err)
	}
	w.Measure("fail2ban_banned_addresses", "Addresses that the jail currently bans.", float64(len(jail.Banned)))
	w.Measure("fail2ban_failed_addresses", "Failures that the jail currently counts for addresses that it has not banned.", float64(jail.Failed))
	w.Note(fmt.Sprintf("%d addresses are banned", len(jail.Banned)))
	*b = bans{jail: name, read: jail}
	return nil
}

func lastBans(w *steps.World) (*bans, error) {
	b := steps.State[bans](w)
	if b.read == nil {
		return nil, steps.FailScenario("no bans have been read yet: write `I read the bans of fail2ban's jail \"sshd\"` before this step")
	}
	return b, nil
}

func fewerAreBanned(_ context.Context, w *steps.World, a steps.Args) error {
	b, err := lastBans(w)
	if err != nil {
		return err
	}
	limit, err := a.Int(0)
	if err != nil {
		return err
	}
	if n := len(b.read.Banned); n >= limit {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "fail2ban's jail %q has banned %d addresses, wanted fewer than %d: someone guesses passwords from many addresses", b.jail, n, limit)
	}
	return nil
}

func judgeBan(wanted bool) func(context.Context, *steps.World, steps.Args) error {
	return func(_ context.Context, w *steps.World, a steps.Args) error {
		b, err := lastBans(w)
		if err != nil {
			return err
		}
		address, err := netip.ParseAddr(a.Text(0))
		if err != nil {
			return steps.FailScenario("%q is not an IP address", a.Text(0))
		}
		switch banned := b.read.Bans(address); {
		case banned && !wanted:
			return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "fail2ban's jail %q has banned %s: \"fail2ban-client set %s unbanip %s\" unbans it", b.jail, address, b.jail, address)
		case !banned && wanted:
			return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "fail2ban's jail %q has not banned %s, but %d others", b.jail, address, len(b.read.Banned))
		}
		return nil
	}
}
