package history

import (
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// record is a run as it is stored. Times are in microseconds, Unix time.
type record struct {
	scenario uint64
	shape    uint64
	began    int64
	state    result.State
	stale    bool
	attempt  uint64
	id       []byte // Result.Run: packed, or as it is
	packed   bool
	delay    uint64
	prepare  uint64
	times    []uint64  // see shape.timed
	values   []float64 // measurements in the order of the steps
	details  []byte    // JSON of details; nil for most runs
}

// details are what only runs have that were not OK, or had something to say.
type details struct {
	Status   result.Status    `json:"status,omitempty"` // empty for passed
	Reason   result.Reason    `json:"reason,omitempty"`
	Blame    result.Blame     `json:"blame,omitempty"`
	Step     string           `json:"step,omitempty"` // labels of the step that decided
	Summary  string           `json:"summary,omitempty"`
	Error    string           `json:"error,omitempty"`
	Lack     *result.Lack     `json:"lack,omitempty"`
	Targets  []string         `json:"targets,omitempty"`
	Cleanup  string           `json:"cleanup,omitempty"`
	Timeouts int              `json:"timeouts,omitempty"`
	Steps    map[int]stepNote `json:"steps,omitempty"` // by the place of the step, counted as shape.timed visits them
}

type stepNote struct {
	Reason result.Reason  `json:"reason,omitempty"`
	Blame  result.Blame   `json:"blame,omitempty"`
	Error  string         `json:"error,omitempty"`
	Note   string         `json:"note,omitempty"`
	Phases map[int]string `json:"phases,omitempty"` // the notes of phases, by their place
}

// detailsMost bounds what one run may say. The texts in results are bounded already.
const detailsMost = 256 << 10

// The bits of a record's head.
const (
	flagState   = 3 // two bits
	flagStale   = 1 << 2
	flagID      = 1 << 3 // the id is packed
	flagDetails = 1 << 4
	flagAttempt = 1 << 5 // the attempt is not 1
	flagText    = 1 << 6 // the id is another text
)

// An id as rand.Text returns it has 26 letters and digits of five bits each: 17 bytes.
const (
	idLetters = 26
	idBytes   = 17
	idRest    = "AAAAAA" // as many zero bits as make whole groups of the code
)

// packID returns the bytes of an id, if it is one as rand.Text returns it.
func packID(id string) (packed [20]byte, ok bool) {
	if len(id) != idLetters {
		return packed, false
	}
	var whole [idLetters + len(idRest)]byte
	copy(whole[copy(whole[:], id):], idRest)
	n, err := base32.StdEncoding.Decode(packed[:], whole[:])
	return packed, err == nil && n == len(packed)
}

func unpackID(b []byte) string {
	var packed [20]byte
	copy(packed[:], b)
	return base32.StdEncoding.EncodeToString(packed[:])[:idLetters]
}

// detailsOf returns what is worth keeping of a run besides its numbers, or nil.
func detailsOf(res *result.Result, state result.State) *details {
	if state == result.OK && res.Cleanup == "" {
		return nil
	}
	d := &details{Reason: res.Reason, Blame: res.Blame, Error: res.Error, Lack: res.Lack, Targets: res.Targets, Cleanup: res.Cleanup, Timeouts: res.Timeouts}
	if res.Status != result.Passed {
		d.Status = res.Status
	}
	if state != result.OK {
		d.Summary, d.Step = res.Summary(), decided(res)
	}
	at := 0
	var walk func([]result.StepResult)
	walk = func(steps []result.StepResult) {
		for i := range steps {
			s := &steps[i]
			note := stepNote{Reason: s.Reason, Blame: s.Blame, Error: s.Error, Note: s.Note}
			for j, p := range s.Phases {
				if p.Note != "" {
					if note.Phases == nil {
						note.Phases = make(map[int]string)
					}
					note.Phases[j] = p.Note
				}
			}
			if note.Reason != "" || note.Blame != "" || note.Error != "" || note.Note != "" || note.Phases != nil {
				if d.Steps == nil {
					d.Steps = make(map[int]stepNote)
				}
				d.Steps[at] = note
			}
			at++
			walk(s.Steps)
		}
	}
	walk(res.Steps)
	return d
}

// decided returns the labels of the step that made a run what it is: the first that did not pass, or the one furthest over its
// budget.
func decided(res *result.Result) string {
	if s, found := res.Failing(); found {
		path, _, _ := s.Inner()
		name := s.Label
		for _, label := range path {
			name += result.Beneath + label
		}
		return name
	}
	worst, label := result.OK, ""
	var longest time.Duration
	for _, s := range res.Steps {
		if over := res.Budget.Judge(s.Duration); over > worst || over == worst && over != result.OK && s.Duration > longest {
			worst, label, longest = over, s.Label, s.Duration
		}
	}
	return label
}

// appendRun appends a run as a record with its length, for a journal whose last run began at before.
func appendRun(b []byte, res *result.Result, state result.State, scenario, shape uint64, reduced bool, before int64) (_ []byte, began int64, err error) {
	began = res.Started.UnixMicro()
	start := len(b)
	b = append(b, 0, 0, 0) // room for the length
	b = binary.AppendUvarint(b, scenario)
	b = binary.AppendUvarint(b, shape)
	b = binary.AppendVarint(b, began-before)
	flags := byte(state) & flagState //nolint:gosec // four bits
	if res.Stale {
		flags |= flagStale
	}
	id, packed := packID(res.Run)
	switch {
	case packed:
		flags |= flagID
	case res.Run != "":
		flags |= flagText
	}
	var extra []byte
	if d := detailsOf(res, state); d != nil {
		if extra, err = json.Marshal(d); err != nil {
			return b[:start], before, err
		}
		if len(extra) > detailsMost {
			d.Steps, d.Targets = nil, nil
			if extra, err = json.Marshal(d); err != nil || len(extra) > detailsMost {
				return b[:start], before, errors.Join(err, errors.New("its errors are too long"))
			}
		}
		flags |= flagDetails
	}
	if res.Attempt > 1 {
		flags |= flagAttempt
	}
	b = append(b, flags)
	if flags&flagID != 0 {
		b = append(b, id[:idBytes]...)
	}
	if flags&flagText != 0 {
		b = appendBytes(b, []byte(res.Run))
	}
	if flags&flagAttempt != 0 {
		b = binary.AppendUvarint(b, uint64(res.Attempt)) //nolint:gosec // above 1
	}
	b = appendMicros(b, res.Delay)
	b = appendMicros(b, res.Prepare)
	b = appendTimes(b, res.Steps, reduced)
	if !reduced {
		b = appendValues(b, res.Steps)
	}
	if flags&flagDetails != 0 {
		b = appendBytes(b, extra)
	}
	length := len(b) - start - 3
	if length >= 1<<21 {
		return b[:start], before, errors.New("it is too long")
	}
	// A number of three bytes, whatever its value, so that nothing has to be moved.
	b[start], b[start+1], b[start+2] = byte(length)|0x80, byte(length>>7)|0x80, byte(length>>14) //nolint:gosec // seven bits, and the mark that more follow
	return b, began, nil
}

func appendBytes(b, more []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(more))), more...)
}

func appendMicros(b []byte, d time.Duration) []byte {
	return binary.AppendUvarint(b, uint64(max(0, d.Microseconds())))
}

func appendTimes(b []byte, steps []result.StepResult, reduced bool) []byte {
	for i := range steps {
		s := &steps[i]
		if s.Ran {
			b = appendMicros(b, s.Duration)
		}
		if !reduced {
			for _, p := range s.Phases {
				b = appendMicros(b, p.Duration)
			}
		}
		b = appendTimes(b, s.Steps, reduced)
	}
	return b
}

func appendValues(b []byte, steps []result.StepResult) []byte {
	for i := range steps {
		for _, m := range steps[i].Measurements {
			b = appendFloat(b, m.Value)
		}
		b = appendValues(b, steps[i].Steps)
	}
	return b
}

// appendFloat appends a whole number as twice its value, and every other one as 1 and its bits.
func appendFloat(b []byte, v float64) []byte {
	const exact = 1 << 52
	if v == math.Trunc(v) && math.Abs(v) < exact && !(v == 0 && math.Signbit(v)) {
		n := int64(v)
		return binary.AppendUvarint(b, uint64(n<<1^n>>63)<<1) //nolint:gosec // as binary.AppendVarint does, and one bit more
	}
	b = append(b, 1)
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

func (r *reader) float() float64 {
	head := r.uvarint()
	if head&1 == 0 {
		n := head >> 1
		return float64(int64(n>>1) ^ -int64(n&1)) //nolint:gosec // as binary.Varint does
	}
	if bits := r.bytes(8); bits != nil {
		return math.Float64frombits(binary.LittleEndian.Uint64(bits))
	}
	return 0
}

// shapes finds a shape by its number.
type shapes func(id uint64) (*shape, error)

// record reads the next record of a journal, if wanted wants its scenario. It uses the slices of into again.
func (r *reader) record(before int64, known shapes, wanted func(scenario uint64) bool, into *record) (began int64, found bool) {
	at := r.section("a run")
	scenario, id := at.uvarint(), at.uvarint()
	began = before + at.varint()
	if at.err != nil {
		r.fail(at.err)
		return began, false
	}
	if wanted != nil && !wanted(scenario) {
		return began, false
	}
	*into = record{scenario: scenario, shape: id, began: began, attempt: 1, times: into.times[:0], values: into.values[:0]}
	flags := at.byte()
	into.state, into.stale = result.State(flags&flagState), flags&flagStale != 0
	if flags&flagID != 0 {
		into.id, into.packed = at.bytes(idBytes), true
	}
	if flags&flagText != 0 {
		into.id = at.bytes(at.uvarint())
	}
	if flags&flagAttempt != 0 {
		into.attempt = at.uvarint()
	}
	into.delay, into.prepare = at.uvarint(), at.uvarint()
	s, err := known(id)
	if err != nil {
		at.fail(err)
	} else {
		for range s.times {
			into.times = append(into.times, at.uvarint())
		}
		for range s.measured {
			into.values = append(into.values, at.float())
		}
	}
	if flags&flagDetails != 0 {
		into.details = at.bytes(at.uvarint())
	}
	if err := at.end(); err != nil {
		r.fail(err)
		return began, false
	}
	return began, true
}

// runID returns Result.Run.
func (r *record) runID() string {
	if r.packed {
		return unpackID(r.id)
	}
	return string(r.id)
}

// rebase returns the records of a batch for one in which the last run began at before.
func rebase(records []byte, before int64) ([]byte, error) {
	r := newReader(records, "runs")
	whole := r.section("a run")
	scenario, shape, began := whole.uvarint(), whole.uvarint(), whole.varint()
	if whole.err != nil {
		return nil, whole.err
	}
	first := binary.AppendUvarint(binary.AppendUvarint(nil, scenario), shape)
	first = append(binary.AppendVarint(first, began-before), whole.rest...)
	return append(appendBytes(nil, first), r.rest...), nil
}
