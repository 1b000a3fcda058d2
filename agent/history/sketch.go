package history

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"
)

// sketch counts durations in buckets whose bounds grow by a constant factor. Its quantiles are wrong by at most sketchError of
// the value, and sketches of several hours or scenarios add up without losing any of that (as in Masson, Rim and Lee, "DDSketch",
// PVLDB 12:12, 2019). Durations below a microsecond count as one.
type sketch struct {
	buckets []uint16 // sorted
	counts  []uint32 // of the bucket with the same index
	sum     uint64   // of all durations, in microseconds
	most    uint64   // the longest of them, in microseconds
}

// sketchError is the largest relative error of a quantile.
const sketchError = 0.015

// bucketsMost is one more than the highest bucket, which has durations of a day and more.
const bucketsMost = 900

var bucketWidth = math.Log((1 + sketchError) / (1 - sketchError))

func bucketOf(micros uint64) uint16 {
	if micros <= 1 {
		return 0
	}
	return uint16(min(bucketsMost-1, math.Ceil(math.Log(float64(micros))/bucketWidth)))
}

// valueOf returns the duration that differs from none in the bucket by more than sketchError.
func valueOf(bucket uint16) time.Duration {
	upper := math.Exp(float64(bucket) * bucketWidth)
	return time.Duration(upper * (1 - sketchError) * float64(time.Microsecond))
}

func (s *sketch) add(micros uint64) {
	s.addBucket(bucketOf(micros), 1)
	s.sum += micros
	s.most = max(s.most, micros)
}

func (s *sketch) addBucket(bucket uint16, n uint32) {
	i, found := slices.BinarySearch(s.buckets, bucket)
	if !found {
		s.buckets = slices.Insert(s.buckets, i, bucket)
		s.counts = slices.Insert(s.counts, i, 0)
	}
	s.counts[i] += min(n, math.MaxUint32-s.counts[i])
}

// merge adds the durations of another sketch.
func (s *sketch) merge(other *sketch) {
	for i, bucket := range other.buckets {
		s.addBucket(bucket, other.counts[i])
	}
	s.sum += other.sum
	s.most = max(s.most, other.most)
}

func (s *sketch) count() (n uint64) {
	for _, c := range s.counts {
		n += uint64(c)
	}
	return n
}

// quantile returns the duration that a share q of all durations do not exceed: the value at rank ceil(q*n), but at least the
// first. ok is false without any.
func (s *sketch) quantile(q float64) (d time.Duration, ok bool) {
	total := s.count()
	if total == 0 {
		return 0, false
	}
	rank := max(1, uint64(math.Ceil(q*float64(total))))
	longest := time.Duration(s.most) * time.Microsecond //nolint:gosec // at most some days
	if rank >= total {
		return longest, true
	}
	var below uint64
	for i, c := range s.counts {
		if below += uint64(c); below >= rank {
			return min(valueOf(s.buckets[i]), longest), true
		}
	}
	return longest, true
}

// A bucket is one byte if at most six buckets before it are empty and it has at most 31 durations, as nearly all are: three bits
// for the number of empty ones, five for the count. A part that does not fit is gapEscape or zero, and follows as a number.
const (
	gapEscape = 7
	countBits = 5
	countMask = 1<<countBits - 1
)

func (s *sketch) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.buckets)))
	b = binary.AppendUvarint(b, s.sum)
	b = binary.AppendUvarint(b, s.most)
	next := 0
	for i, bucket := range s.buckets {
		gap, count := int(bucket)-next, s.counts[i]
		next = int(bucket) + 1
		head := byte(min(gap, gapEscape)) << countBits //nolint:gosec // at most gapEscape
		if count <= countMask {
			head |= byte(count)
		}
		b = append(b, head)
		if gap >= gapEscape {
			b = binary.AppendUvarint(b, uint64(gap)) //nolint:gosec // not negative: the buckets are sorted
		}
		if count > countMask {
			b = binary.AppendUvarint(b, uint64(count))
		}
	}
	return b
}

// sketch adds what append wrote to s.
func (r *reader) sketch(s *sketch) {
	sum, most := r.buckets(func(bucket uint16, count uint32) {
		if len(s.buckets) == 0 || s.buckets[len(s.buckets)-1] < bucket {
			s.buckets, s.counts = append(s.buckets, bucket), append(s.counts, count)
		} else {
			s.addBucket(bucket, count)
		}
	})
	s.sum += sum
	s.most = max(s.most, most)
}

// buckets visits the buckets that append wrote.
func (r *reader) buckets(visit func(bucket uint16, count uint32)) (sum, most uint64) {
	n := r.count("buckets", bucketsMost)
	sum, most = r.uvarint(), r.uvarint()
	next := uint64(0)
	for range n {
		head := uint64(r.byte())
		gap, count := head>>countBits, head&countMask
		if gap == gapEscape {
			gap = r.uvarint()
		}
		if count == 0 {
			count = r.uvarint()
		}
		if r.err != nil {
			return sum, most
		}
		if gap >= bucketsMost || next+gap >= bucketsMost || count == 0 || count > math.MaxUint32 {
			r.fail(errors.New("a bucket that cannot be"))
			return sum, most
		}
		visit(uint16(next+gap), uint32(count))
		next += gap + 1
	}
	return sum, most
}

// dense is a sketch with all buckets, for adding up many sketches quickly.
type dense struct {
	counts    [bucketsMost]uint32
	sum, most uint64
}

func (d *dense) add(bucket uint16, n uint32) {
	d.counts[bucket] += min(n, math.MaxUint32-d.counts[bucket])
}

func (d *dense) sketch() *sketch {
	s := &sketch{sum: d.sum, most: d.most}
	for bucket, n := range d.counts {
		if n > 0 {
			s.buckets, s.counts = append(s.buckets, uint16(bucket)), append(s.counts, n) //nolint:gosec // less than bucketsMost
		}
	}
	return s
}
