package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// Counts are numbers of runs by their state.
type Counts struct {
	OK       uint64 `json:"ok"`
	Warning  uint64 `json:"warning"`
	Critical uint64 `json:"critical"`
	Unknown  uint64 `json:"unknown"`
}

func (c *Counts) add(state result.State, n uint64) {
	switch state {
	case result.OK:
		c.OK += n
	case result.Warning:
		c.Warning += n
	case result.Critical:
		c.Critical += n
	default:
		c.Unknown += n
	}
}

func (c *Counts) merge(other Counts) {
	c.OK += other.OK
	c.Warning += other.Warning
	c.Critical += other.Critical
	c.Unknown += other.Unknown
}

// Runs returns the number of all runs.
func (c Counts) Runs() uint64 { return c.OK + c.Warning + c.Critical + c.Unknown }

// Uptime returns the share of the runs in which the target worked, OK or WARNING, of those that proved anything. known is false
// if none did: then nothing is known, and that is not 0 %.
func (c Counts) Uptime() (share float64, known bool) {
	proved := c.OK + c.Warning + c.Critical
	if proved == 0 {
		return 0, false
	}
	return float64(c.OK+c.Warning) / float64(proved), true
}

// hour is what is kept of the runs of a scenario in one hour for years: how many had which state, and how long each step and each
// phase took when the step passed. A failure that came quickly must not make a step look fast.
type hour struct {
	counts Counts
	series map[uint64]*sketch // by the number of the step or phase
}

func (h *hour) sketch(series uint64) *sketch {
	s := h.series[series]
	if s == nil {
		if h.series == nil {
			h.series = make(map[uint64]*sketch)
		}
		s = new(sketch)
		h.series[series] = s
	}
	return s
}

// day has the hours of a day in UTC that have any runs.
type day map[int]*hour

func (d day) hour(n int) *hour {
	h := d[n]
	if h == nil {
		h = new(hour)
		d[n] = h
	}
	return h
}

const dayVersion = 1

// The bounds of a day.
const (
	hoursMost  = 24
	seriesMost = 1 << 16
)

// append appends the hours, compressed if that day is over.
func (d day) append(b []byte, over bool) []byte {
	b = append(b, dayVersion)
	var body, one []byte
	for _, n := range slices.Sorted(maps.Keys(d)) {
		h := d[n]
		one = binary.AppendUvarint(one[:0], h.counts.OK)
		for _, n := range []uint64{h.counts.Warning, h.counts.Critical, h.counts.Unknown, uint64(len(h.series))} {
			one = binary.AppendUvarint(one, n)
		}
		last := uint64(0)
		for _, series := range slices.Sorted(maps.Keys(h.series)) {
			one = binary.AppendUvarint(one, series-last)
			last = series
			one = h.series[series].append(one)
		}
		body = append(body, byte(n)) //nolint:gosec // seven bits, and the mark that more follow
		body = appendBytes(body, one)
	}
	if over {
		return appendPacked(b, body)
	}
	return appendPlain(b, body)
}

// readDay adds what append wrote to each hour that into returns.
func readDay(b []byte, part string, into func(hour int) *hour) error {
	return readHours(b, part, func(n int, counts Counts, in *reader, series iter.Seq[uint64]) {
		h := into(n)
		h.counts.merge(counts)
		for number := range series {
			in.sketch(h.sketch(number))
		}
	})
}

// readHours visits the hours that append wrote. The visitor must read the sketch of each series with the reader, or read no series
// at all.
func readHours(b []byte, part string, visit func(hour int, counts Counts, in *reader, series iter.Seq[uint64])) error {
	r := newReader(b, part)
	if v := r.byte(); r.err == nil && v != dayVersion {
		r.fail(fmt.Errorf("version %d, not %d", v, dayVersion))
	}
	all := r.packed("hours")
	for last := -1; all.err == nil && len(all.rest) > 0; {
		n := int(all.byte())
		if n <= last || n >= hoursMost {
			all.fail(fmt.Errorf("hour %d after %d", n, last))
			break
		}
		last = n
		in := all.section("an hour")
		counts := Counts{in.uvarint(), in.uvarint(), in.uvarint(), in.uvarint()}
		series, read := in.count("series", seriesMost), false
		visit(n, counts, in, func(yield func(uint64) bool) {
			read = true
			for number := uint64(0); series > 0 && in.err == nil; series-- {
				if number += in.uvarint(); in.err != nil || !yield(number) {
					return
				}
			}
		})
		if err := in.err; err != nil {
			return err
		}
		if read || series == 0 {
			if err := in.end(); err != nil {
				return err
			}
		}
	}
	return errors.Join(all.err, r.end())
}

// dayOf returns the number of the day in UTC and the hour in it. Numbers count from 1970.
func dayOf(micros int64) (number int64, hour int) {
	const perHour, perDay = int64(time.Hour / time.Microsecond), int64(24 * time.Hour / time.Microsecond)
	number = micros / perDay
	if micros < 0 && micros%perDay != 0 {
		number--
	}
	return number, int((micros - number*perDay) / perHour)
}
