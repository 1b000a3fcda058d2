package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"github.com/stepwatch/stepwatch/agent/result"
)

// A block has runs of one scenario, the oldest first. Its sections are columns, so that whoever wants the states reads no
// durations. Each follows its length in bytes:
//
//	times      the beginnings in microseconds: the first, the first distance, then by how much each distance differs
//	states     state and flags as in a record, each with the number of runs in a row that have it
//	shapes     the same for the numbers of the shapes
//	ids        the ids
//	numbers    of each run the attempt if it is not 1, delay, preparation, durations and values; those of a duration are the
//	           differences to the last run of the same shape
//	details    the places and the details of those runs that have them, compressed with Zstandard (RFC 8878) if there are many
const blockVersion = 1

// The bounds of a block.
const (
	blockRunsMost    = 4096
	blockDetailsMost = 64 << 20 // bytes of all details
)

// appendBlock appends the runs, which are sorted by their beginning.
func appendBlock(b []byte, runs []record) []byte {
	b = append(b, blockVersion)
	b = binary.AppendUvarint(b, uint64(len(runs)))
	var section []byte
	end := func() { b = appendBytes(b, section); section = section[:0] }

	last, distance := int64(0), int64(0)
	for i := range runs {
		next := runs[i].began - last
		section = binary.AppendVarint(section, next-distance)
		if last = runs[i].began; i > 0 {
			distance = next
		}
	}
	end()
	repeated(len(runs), func(i int) uint64 { return uint64(runs[i].flags()) }, &section)
	end()
	repeated(len(runs), func(i int) uint64 { return runs[i].shape }, &section)
	end()
	for i := range runs {
		r := &runs[i]
		if !r.packed && len(r.id) > 0 {
			section = binary.AppendUvarint(section, uint64(len(r.id)))
		}
		section = append(section, r.id...)
	}
	end()
	before := make(map[uint64][]uint64)
	for i := range runs {
		r := &runs[i]
		if r.attempt != 1 {
			section = binary.AppendUvarint(section, r.attempt)
		}
		section = binary.AppendUvarint(section, r.delay)
		section = binary.AppendUvarint(section, r.prepare)
		same := before[r.shape]
		for j, d := range r.times {
			if same != nil {
				section = binary.AppendVarint(section, int64(d)-int64(same[j])) //nolint:gosec // microseconds
			} else {
				section = binary.AppendUvarint(section, d)
			}
		}
		before[r.shape] = r.times
		for _, v := range r.values {
			section = appendFloat(section, v)
		}
	}
	end()
	at := 0
	for i := range runs {
		if runs[i].details != nil {
			section = binary.AppendUvarint(section, uint64(i-at)) //nolint:gosec // not negative
			section = appendBytes(section, runs[i].details)
			at = i
		}
	}
	return appendPacked(b, section)
}

// flags returns the head of the record, as in a journal.
func (r *record) flags() byte {
	flags := byte(r.state) & flagState //nolint:gosec // four bits
	if r.stale {
		flags |= flagStale
	}
	switch {
	case r.packed:
		flags |= flagID
	case len(r.id) > 0:
		flags |= flagText
	}
	if r.details != nil {
		flags |= flagDetails
	}
	if r.attempt != 1 {
		flags |= flagAttempt
	}
	return flags
}

// repeated appends n values, each with how often it comes in a row.
func repeated(n int, value func(int) uint64, b *[]byte) {
	for i := 0; i < n; {
		from, v := i, value(i)
		for i < n && value(i) == v {
			i++
		}
		*b = binary.AppendUvarint(binary.AppendUvarint(*b, v), uint64(i-from)) //nolint:gosec // not negative
	}
}

// repeated calls set for each of n values.
func (r *reader) repeated(n int, set func(i int, v uint64)) {
	for i := 0; i < n; {
		v, times := r.uvarint(), r.uvarint()
		if r.err != nil {
			return
		}
		if times == 0 || times > uint64(n-i) { //nolint:gosec // i is less than n
			r.fail(fmt.Errorf("%d values after %d of %d", times, i, n))
			return
		}
		for range times {
			set(i, v)
			i++
		}
	}
}

// Packed bytes begin with one of these.
const (
	packedPlain = 0
	packedZstd  = 1
)

// packedLeast is from how many bytes on compression is tried.
const packedLeast = 200

// The compressor and decompressor are made on first use: only agents and queries of failures need them.
var (
	packer = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(128<<10), zstd.WithEncoderLevel(zstd.SpeedDefault))
	})
	unpacker = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(blockDetailsMost))
	})
)

// appendPacked appends bytes with their length, compressed if they are many and it makes them shorter.
func appendPacked(b, section []byte) []byte {
	if len(section) == 0 {
		return append(b, 0)
	}
	if len(section) >= packedLeast {
		if z, err := packer(); err == nil {
			if short := z.EncodeAll(section, []byte{packedZstd}); len(short) < len(section) {
				return appendBytes(b, short)
			}
		}
	}
	return appendPlain(b, section)
}

func appendPlain(b, section []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(section)+1))
	return append(append(b, packedPlain), section...)
}

// packed returns a reader of a section that appendPacked wrote.
func (r *reader) packed(part string) *reader {
	in := r.section(part)
	if in.err != nil || len(in.rest) == 0 {
		return in
	}
	switch in.byte() {
	case packedPlain:
		return in
	case packedZstd:
		z, err := unpacker()
		if err != nil {
			in.fail(err)
			return in
		}
		whole, err := z.DecodeAll(in.rest, nil)
		if err != nil {
			in.fail(fmt.Errorf("decompress it: %w", err))
			return in
		}
		return &reader{rest: whole, size: len(whole), part: part + ", decompressed,", in: r, from: in.from}
	default:
		in.fail(errors.New("it is packed in an unknown way"))
		return in
	}
}

// Which sections of a block are read.
type depth int

const (
	statesOnly depth = iota // began, state and stale
	numbersToo              // also the shapes, ids and numbers
	detailsToo              // all
)

// blocksRead counts the blocks that were read, for tests of how much a query reads.
var blocksRead atomic.Int64

// readBlock returns the runs of a block of a scenario.
func readBlock(b []byte, part string, scenario uint64, known shapes, how depth) ([]record, error) {
	blocksRead.Add(1)
	r := newReader(b, part)
	if v := r.byte(); r.err == nil && v != blockVersion {
		r.fail(fmt.Errorf("version %d, not %d", v, blockVersion))
	}
	n := r.count("runs", blockRunsMost)
	times := r.section("times")
	states := r.section("states")
	if r.err != nil {
		return nil, r.err
	}
	runs := make([]record, n)
	last, distance := int64(0), int64(0)
	for i := range runs {
		next := distance + times.varint()
		last += next
		runs[i].scenario, runs[i].began = scenario, last
		if i > 0 {
			distance = next
		}
	}
	if err := times.end(); err != nil {
		return nil, err
	}
	flags := make([]byte, n)
	states.repeated(n, func(i int, v uint64) {
		flags[i] = byte(v) //nolint:gosec // checked above
		runs[i].state, runs[i].stale = result.State(v&flagState), v&flagStale != 0
	})
	if err := states.end(); err != nil {
		return nil, err
	}
	if how == statesOnly {
		return runs, nil
	}
	ofShapes, ids, numbers := r.section("shapes"), r.section("ids"), r.section("numbers")
	ofShapes.repeated(n, func(i int, v uint64) { runs[i].shape = v })
	if err := errors.Join(r.err, ofShapes.end()); err != nil {
		return nil, err
	}
	for i := range runs {
		switch {
		case flags[i]&flagID != 0:
			runs[i].id, runs[i].packed = ids.bytes(idBytes), true
		case flags[i]&flagText != 0:
			runs[i].id = ids.bytes(ids.uvarint())
		}
	}
	if err := ids.end(); err != nil {
		return nil, err
	}
	before := make(map[uint64][]uint64)
	var shape *shape
	for i := range runs {
		run := &runs[i]
		run.attempt = 1
		if flags[i]&flagAttempt != 0 {
			run.attempt = numbers.uvarint()
		}
		run.delay, run.prepare = numbers.uvarint(), numbers.uvarint()
		if shape == nil || shape.id != run.shape {
			var err error
			if shape, err = known(run.shape); err != nil {
				numbers.fail(err)
				return nil, numbers.err
			}
		}
		if shape.times+shape.measured > len(numbers.rest) {
			numbers.fail(errShort)
			return nil, numbers.err
		}
		run.times = make([]uint64, shape.times)
		same := before[run.shape]
		for j := range run.times {
			if same != nil {
				run.times[j] = same[j] + uint64(numbers.varint()) //nolint:gosec // the sum is a duration again
			} else {
				run.times[j] = numbers.uvarint()
			}
		}
		before[run.shape] = run.times
		run.values = make([]float64, shape.measured)
		for j := range run.values {
			run.values[j] = numbers.float()
		}
	}
	if err := numbers.end(); err != nil {
		return nil, err
	}
	if how < detailsToo {
		return runs, nil
	}
	in := r.packed("details")
	for at := 0; in.err == nil && len(in.rest) > 0; {
		ahead := in.uvarint()
		if in.err == nil && ahead >= uint64(n-at) { //nolint:gosec // at is at most n
			in.fail(fmt.Errorf("details of run %d of %d", uint64(at)+ahead, n)) //nolint:gosec // not negative
			break
		}
		at += int(ahead) //nolint:gosec // less than n
		runs[at].details = in.bytes(in.uvarint())
	}
	if err := errors.Join(in.err, r.end()); err != nil {
		return nil, err
	}
	return runs, nil
}

// sortRuns sorts runs by their beginning.
func sortRuns(runs []record) {
	slices.SortStableFunc(runs, func(a, b record) int {
		switch {
		case a.began < b.began:
			return -1
		case a.began > b.began:
			return 1
		}
		return 0
	})
}
