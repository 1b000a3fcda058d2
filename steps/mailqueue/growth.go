package mailqueue

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/statedir"
)

// Reading is the number of messages in a queue at one moment.
type Reading struct {
	At       time.Time `json:"at"`
	Messages int       `json:"messages"`
}

// Growth is the growth of a queue.
type Growth struct {
	Messages int           // since the reading with the fewest, so never negative
	Over     time.Duration // since that reading
	Reach    time.Duration // age of the oldest reading; zero when there is none to compare with
}

// GrowthDir is the directory of the readings below the state directory.
const GrowthDir = "queue-growth"

const (
	// slack is how much older than the window a reading may be, as a share of the window, so that readings one window
	// apart count.
	slack = 0.1

	// readingsLimit is the maximum number of readings of one queue.
	readingsLimit = 10_000
)

var growthLimit = limit.Define(limit.Limit{Subject: "state", What: "the file of the readings of a queue", Unit: "bytes", Most: 4 << 20})

// Remember stores a reading in directory, and compares it with those in the window before it. queue names the queue and
// must be different for each queue. Different windows have different files.
//
// Any number of processes may call it at once: it reads and replaces a file as a whole. If two do so at the same
// moment, one of the two readings is lost, which the other process's reading makes up for. An unreadable file counts as
// empty.
func Remember(directory, queue string, window time.Duration, now Reading) (Growth, error) {
	sum := sha256.Sum256([]byte(queue + "\x00" + window.String()))
	file := hex.EncodeToString(sum[:12]) + ".json"
	state, err := statedir.Open(directory)
	if err != nil {
		return Growth{}, err
	}
	defer func() { _ = state.Close() }() // nothing is written in it
	dir, err := state.Sub(GrowthDir)
	if err != nil {
		return Growth{}, err
	}
	defer func() { _ = dir.Close() }() // the file in it is closed already
	past, err := readReadings(dir, file)
	if err != nil {
		return Growth{}, err
	}
	past = within(past, now.At, window)
	growth := compare(past, now)
	return growth, writeReadings(dir, file, append(past, now))
}

// within returns the readings in the window before now, the newest of them if there are too many.
func within(readings []Reading, now time.Time, window time.Duration) []Reading {
	oldest := now.Add(-window - time.Duration(slack*float64(window)))
	var kept []Reading
	for _, r := range readings {
		if r.At.Before(now) && !r.At.Before(oldest) {
			kept = append(kept, r)
		}
	}
	return kept[max(0, len(kept)-readingsLimit):]
}

func compare(past []Reading, now Reading) Growth {
	var g Growth
	for _, r := range past {
		g.Reach = max(g.Reach, now.At.Sub(r.At))
		if grown := now.Messages - r.Messages; grown > g.Messages {
			g.Messages, g.Over = grown, now.At.Sub(r.At)
		}
	}
	return g
}

func readReadings(dir *statedir.Dir, file string) ([]Reading, error) {
	content, err := dir.ReadFile(file, growthLimit)
	var large *limit.Error
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &large) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var readings []Reading
	if damaged := json.Unmarshal(content, &readings); damaged != nil {
		readings = nil
	}
	return readings, nil
}

func writeReadings(dir *statedir.Dir, file string, readings []Reading) error {
	content, err := json.Marshal(readings)
	if err != nil {
		return err
	}
	if err := dir.WriteFile(file, content); err != nil {
		return fmt.Errorf("store the readings: %w", err)
	}
	return nil
}
