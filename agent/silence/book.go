package silence

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent/database"
	"github.com/stepwatch/stepwatch/agent/result"
)

// The bounds of a Book.
const (
	currentMost = 1000                // silences that are active or pending
	endedMost   = 1000                // silences that have ended and are kept
	endedKept   = 30 * 24 * time.Hour // how long they are kept
	longest     = 7 * 24 * time.Hour  // a longer silence needs Request.Long
	longestEver = 366 * 24 * time.Hour
	futureMost  = 366 * 24 * time.Hour // how far ahead a silence may begin
)

// Subject is a scenario as silences see it.
type Subject struct {
	Identity result.Identity
	Tags     []string // as written: "@mail", "@owner:web"
}

// Request is what a person asks for.
type Request struct {
	Author   string    `json:"author"`
	Login    string    `json:"-"` // set by the HTTP server
	Reason   string    `json:"reason"`
	Start    time.Time `json:"start,omitzero"`             // default: now
	End      time.Time `json:"end,omitzero"`               // either this
	Duration float64   `json:"duration_seconds,omitempty"` // or this, from the start
	Matchers Matchers  `json:"matchers"`
	Long     bool      `json:"long,omitempty"` // more than seven days is meant
}

// Added is the answer to a Request.
type Added struct {
	Listed
	Scenarios int      `json:"scenarios"`          // how many of those that are loaded it selects
	Warnings  []string `json:"warnings,omitempty"` // what the person may not have meant
}

// Listed is a silence with its state.
type Listed struct {
	Silence
	State State `json:"state"`
}

// Store keeps silences over restarts. A Book calls it from one goroutine at a time.
type Store interface {
	Load(context.Context) ([]Silence, error) // those that can be read, also with an error
	Put(context.Context, ...Silence) error
	Delete(ctx context.Context, ids ...string) error
	Close() error
}

// Book holds the silences and the maintenance windows. Its methods may be called from any goroutine.
type Book struct {
	store Store
	log   *slog.Logger

	mu      sync.Mutex
	kept    map[string]*entry // by id
	unsaved map[string]bool   // ids that the store does not have as they are
	failed  error             // why they could not be stored the last time; nil if there are none
	again   *time.Timer       // until the next attempt to store them; nil if all are stored
	closed  bool

	current atomic.Pointer[current]
	windows atomic.Pointer[[]*Window]
}

// entry is a silence in a Book. It is replaced, never changed.
type entry struct {
	Silence
	matcher *matcher
}

// current are the silences that have not ended, in the order of their ends, the last first.
type current []*entry

// ErrUnknown is the error for an id that the Book does not have.
var ErrUnknown = errors.New("there is no silence with this id, or it ended more than 30 days ago: list them with \"stepwatch silence list\"")

// ErrEnded is the error of ending a silence that has ended.
var ErrEnded = errors.New("the silence has already ended")

// ErrFull is the error of adding a silence to a full Book.
var ErrFull = fmt.Errorf("there are already %d silences that are active or pending, the limit: end some, or select scenarios with an asterisk or a tag expression", currentMost)

// Open returns the Book of a store; nil keeps silences in memory only. An error says which silences could not be read; the Book
// begins with the others, and can be used.
func Open(ctx context.Context, store Store, log *slog.Logger) (*Book, error) {
	b := &Book{store: store, log: log, kept: make(map[string]*entry), unsaved: make(map[string]bool)}
	if log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.windows.Store(new([]*Window))
	b.current.Store(new(current))
	if store == nil {
		return b, nil
	}
	silences, err := store.Load(ctx)
	if err != nil {
		err = fmt.Errorf("read the silences: %w", err)
	}
	var useless []string
	for _, s := range silences {
		m, invalid := s.Matchers.compile()
		if invalid != nil && s.State(time.Now()) == Ended {
			useless = append(useless, s.ID)
			continue
		}
		if invalid != nil { // of a version with other rules
			b.log.Error("a kept silence cannot be used: make it again", "silence", s.ID, "author", s.Author, "reason", s.Reason, "error", invalid)
			continue
		}
		b.kept[s.ID] = &entry{s, m}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(useless) > 0 {
		err = errors.Join(err, store.Delete(ctx, useless...))
	}
	b.arrange(ctx, time.Now())
	return b, err
}

// Add adds a silence. known are the scenarios that are loaded. The error is a FieldError or ErrFull. A silence that could not
// be stored holds nevertheless, and a warning says so.
func (b *Book) Add(ctx context.Context, r Request, known []Subject) (*Added, error) {
	now := time.Now()
	s, warnings, err := r.silence(now)
	if err != nil {
		return nil, err
	}
	m, err := r.Matchers.compile()
	if err != nil {
		if field := (*FieldError)(nil); errors.As(err, &field) && field.Field != "" {
			field.Field = "matchers." + field.Field
		}
		return nil, err
	}
	added := &Added{Warnings: warnings}
	for i := range known {
		if m.match(&subject{id: &known[i].Identity, tags: known[i].Tags}) {
			added.Scenarios++
		}
	}
	if added.Scenarios == 0 {
		added.Warnings = append(added.Warnings, fmt.Sprintf("it selects none of the %d scenarios that are loaded: compare it with their names (GET /api/scenarios)", len(known)))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arrange(ctx, now)
	if len(*b.current.Load()) >= currentMost {
		return nil, ErrFull
	}
	for s.ID == "" || b.kept[s.ID] != nil {
		s.ID = newID()
	}
	b.kept[s.ID] = &entry{s, m}
	if err := b.save(ctx, s.ID); err != nil {
		added.Warnings = append(added.Warnings, fmt.Sprintf("it could not be stored, so it ends when the agent restarts: %v", err))
	}
	b.arrange(ctx, now)
	b.log.Info("silence added", "silence", s.ID, "author", s.Author, "login", s.Login, "reason", s.Reason, "start", s.Start, "end", s.End, "scenarios", added.Scenarios)
	added.Silence, added.State = s, s.State(now)
	return added, nil
}

// End ends a silence before its time. by is who does. The error is ErrUnknown, ErrEnded, or a FieldError.
func (b *Book) End(ctx context.Context, id, by string) (*Added, error) {
	if problem := badText(by, authorMost); problem != "" {
		return nil, &FieldError{"author", problem + remedy(problem, ": say who ends the silence")}
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.kept[id]
	if e == nil {
		return nil, ErrUnknown
	}
	if e.State(now) == Ended {
		return nil, ErrEnded
	}
	ended := &entry{e.Silence, e.matcher}
	ended.EndedAt, ended.EndedBy = now.UTC().Truncate(time.Millisecond), by
	b.kept[id] = ended
	done := &Added{Listed: Listed{ended.Silence, Ended}}
	stored := b.store != nil && !b.unsaved[id] // otherwise a restart ends it anyway
	if err := b.save(ctx, id); err != nil && stored {
		done.Warnings = append(done.Warnings, fmt.Sprintf("this could not be stored, so it begins again when the agent restarts before %s: %v", e.End.Format(time.RFC3339), err))
	}
	b.arrange(ctx, now)
	b.log.Info("silence ended", "silence", id, "by", by, "author", e.Author, "reason", e.Reason)
	return done, nil
}

// Get returns a silence by its id, or ErrUnknown.
func (b *Book) Get(id string) (*Listed, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.kept[id]
	if e == nil {
		return nil, ErrUnknown
	}
	return &Listed{e.Silence, e.State(time.Now())}, nil
}

// List returns all silences: the active ones in the order of their ends, the pending ones in the order of their starts, and
// those that have ended, the last first.
func (b *Book) List() []Listed {
	now := time.Now()
	b.mu.Lock()
	all := make([]Listed, 0, len(b.kept))
	for _, e := range b.kept {
		all = append(all, Listed{e.Silence, e.State(now)})
	}
	b.mu.Unlock()
	order := map[State]int{Active: 0, Pending: 1, Ended: 2}
	slices.SortFunc(all, func(x, y Listed) int {
		if x.State != y.State {
			return order[x.State] - order[y.State]
		}
		switch x.State {
		case Active:
			return cmp.Or(x.End.Compare(y.End), cmp.Compare(x.ID, y.ID))
		case Pending:
			return cmp.Or(x.Start.Compare(y.Start), cmp.Compare(x.ID, y.ID))
		default:
			return cmp.Or(y.over().Compare(x.over()), cmp.Compare(x.ID, y.ID))
		}
	})
	return all
}

// Quiet reports whether the alerts of a scenario are withheld at a moment, why ("silence 5b1f02c9 of alice: upgrade",
// "maintenance window backups"), and until when at least. tags are those of the scenario as written ("@mail"). If several
// silences and windows hold, it returns the one that ends last; another may follow it, so ask again then.
func (b *Book) Quiet(id result.Identity, tags []string, now time.Time) (why string, until time.Time, quiet bool) {
	s := &subject{id: &id, tags: tags}
	for _, e := range *b.current.Load() {
		if e.State(now) == Active && e.matcher.match(s) {
			why, until, quiet = "silence "+e.ID+" of "+e.Author+": "+e.Reason, e.End, true
			break // the others end before
		}
	}
	for _, w := range *b.windows.Load() {
		if _, end, in := w.at(now); in && end.After(until) && w.matcher.match(s) {
			why, until, quiet = "maintenance window "+w.Name, end, true
		}
	}
	return why, until, quiet
}

// SetWindows replaces the maintenance windows.
func (b *Book) SetWindows(windows []*Window) { b.windows.Store(&windows) }

// silence checks a request and returns its silence, without an id.
func (r *Request) silence(now time.Time) (s Silence, warnings []string, err error) {
	bad := func(field, format string, args ...any) (Silence, []string, error) {
		return Silence{}, nil, &FieldError{field, fmt.Sprintf(format, args...)}
	}
	if problem := badText(r.Author, authorMost); problem != "" {
		return bad("author", "%s%s", problem, remedy(problem, ": say who silences the scenarios"))
	}
	if problem := badText(r.Reason, reasonMost); problem != "" {
		return bad("reason", "%s%s", problem, remedy(problem, ": say why the alerts are not wanted"))
	}
	s = Silence{Author: r.Author, Login: r.Login, Reason: r.Reason, Created: now, Start: r.Start, End: r.End, Matchers: r.Matchers}
	switch {
	case s.Start.IsZero():
		s.Start = now
	case s.Start.Before(now):
		if now.Sub(s.Start) > time.Minute {
			warnings = append(warnings, fmt.Sprintf("it begins now, not at %s, which is past: what was told is told", s.Start.Format(time.RFC3339)))
		}
		s.Start = now
	case s.Start.Sub(now) > futureMost:
		return bad("start", "%s is more than a year ahead: is the year right? A recurring window belongs to maintenance in stepwatch.yml", s.Start.Format(time.RFC3339))
	}
	switch {
	case r.Duration != 0 && !r.End.IsZero():
		return bad("end", "and duration_seconds are both set: set one of them")
	case r.Duration == 0 && r.End.IsZero():
		return bad("end", "is missing: say until when (end) or for how long (duration_seconds)")
	case r.Duration < 0:
		return bad("duration_seconds", "is %g: it must be more than zero", r.Duration)
	case r.Duration > longestEver.Seconds():
		s.End = s.Start.Add(longestEver + 1)
	case r.Duration > 0:
		s.End = s.Start.Add(time.Duration(r.Duration * float64(time.Second)))
	}
	switch length := s.End.Sub(s.Start); {
	case !s.End.After(now):
		return bad("end", "%s is past, it is %s now", s.End.Format(time.RFC3339), now.Format(time.RFC3339))
	case length <= 0:
		return bad("end", "%s is not after the start, %s", s.End.Format(time.RFC3339), s.Start.Format(time.RFC3339))
	case length > longestEver:
		return bad("end", "is more than a year after the start: a scenario that nobody wants to hear of can be removed, or tagged @manual")
	case length > longest && !r.Long:
		return bad("end", "is more than seven days after the start: set long (--long) if that is meant")
	}
	// Without the monotonic clock, and as precise as it is stored.
	s.Start, s.End, s.Created = s.Start.UTC().Truncate(time.Millisecond), s.End.UTC().Truncate(time.Millisecond), s.Created.UTC().Truncate(time.Millisecond)
	return s, warnings, nil
}

// arrange drops silences that ended long ago, and orders the current ones. b.mu is held.
func (b *Book) arrange(ctx context.Context, now time.Time) {
	var ended []*entry
	var rest current
	for _, e := range b.kept {
		if e.State(now) == Ended {
			ended = append(ended, e)
		} else {
			rest = append(rest, e)
		}
	}
	slices.SortFunc(rest, func(x, y *entry) int { return cmp.Or(y.End.Compare(x.End), cmp.Compare(x.ID, y.ID)) })
	b.current.Store(&rest)
	slices.SortFunc(ended, func(x, y *entry) int { return cmp.Or(y.over().Compare(x.over()), cmp.Compare(x.ID, y.ID)) })
	var old []string
	for i, e := range ended {
		if i >= endedMost || now.Sub(e.over()) > endedKept {
			old = append(old, e.ID)
			delete(b.kept, e.ID)
			delete(b.unsaved, e.ID)
		}
	}
	if b.store == nil {
		return
	}
	if len(old) > 0 {
		if err := b.store.Delete(ctx, old...); err != nil {
			b.emptied(err)
			b.log.Warn("silences that ended long ago could not be deleted; this is tried again at the next start", "error", err)
		}
	}
}

// save stores silences, and those that could not be stored before. b.mu is held.
func (b *Book) save(ctx context.Context, ids ...string) error {
	if b.store == nil {
		return errors.New("this agent has no state directory that it can write")
	}
	for _, id := range ids {
		b.unsaved[id] = true
	}
	if b.again != nil {
		b.again.Stop()
	}
	var all []Silence
	for id := range b.unsaved {
		all = append(all, b.kept[id].Silence)
	}
	err := b.store.Put(ctx, all...)
	if b.emptied(err) {
		all = all[:0]
		for id := range b.unsaved {
			all = append(all, b.kept[id].Silence)
		}
		err = b.store.Put(ctx, all...)
	}
	if err != nil {
		if b.again == nil {
			b.log.Error("silences could not be stored, which is tried again: until then, a restart brings back what was stored before", "silences", len(all), "error", err)
		}
		b.again, b.failed = time.AfterFunc(saveAgain, b.saveAgain), err
		return err
	}
	clear(b.unsaved)
	b.failed = nil
	if b.again != nil {
		b.again.Stop()
		b.again = nil
		b.log.Info("silences are stored again", "silences", len(all))
	}
	return nil
}

// Trouble returns why silences could not be stored the last time, or nil.
func (b *Book) Trouble() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed == nil {
		return nil
	}
	return fmt.Errorf("%d changes of silences could not be stored, so a restart of the agent undoes them: %w", len(b.unsaved), b.failed)
}

// saveAgain is the pause before silences that could not be stored are stored again.
const saveAgain = time.Minute

// saveAgain stores what could not be stored.
func (b *Book) saveAgain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.unsaved) > 0 && !b.closed {
		_ = b.save(context.Background()) // that they could not be stored was said before
	}
}

// Close tries once more to store what could not be stored, and closes the store. The Book can still be asked.
func (b *Book) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.store == nil || b.closed {
		return nil
	}
	var err error
	if len(b.unsaved) > 0 {
		err = b.save(context.Background())
	}
	b.closed = true
	if b.again != nil {
		b.again.Stop()
	}
	return errors.Join(err, b.store.Close())
}

// emptied reports whether the store has begun a new file because of a damaged one. Then everything has to be stored again.
func (b *Book) emptied(err error) bool {
	var damaged *database.DamagedError
	if !errors.As(err, &damaged) {
		return false
	}
	for id := range b.kept {
		b.unsaved[id] = true
	}
	return true
}

// newID returns an id that is short enough to be typed.
func newID() string {
	var id [4]byte
	_, _ = rand.Read(id[:]) // it never fails
	return hex.EncodeToString(id[:])
}
