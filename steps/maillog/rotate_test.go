package maillog

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

var (
	allInterleavings = flag.Bool("interleavings", false, "try every interleaving, not only those with one interruption (minutes)")
	firstSeed        = flag.Uint64("first", 0, "the first random sequence")
	sequences        = flag.Uint64("sequences", 50, "how many random sequences to try")
)

// alike makes all lines the same, as a server may write them within one second.
func (s *server) alike() {
	line := sent(1)
	s.line = func(int) string { return line }
}

// slow gives each line its own second.
func (s *server) slow() {
	begin := time.Now().Add(-time.Hour)
	s.line = func(n int) string {
		return begin.Add(time.Duration(n)*time.Second).Format(time.Stamp) + sent(n)[len(time.Stamp):]
	}
}

func (s *server) at(n int) string { return fmt.Sprintf("%s.%d", s.path, n) }

func (s *server) did(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf(format, args...))
}

func (s *server) move(from, to string) {
	s.did("move %s %s", filepath.Base(from), filepath.Base(to))
	s.must(os.Rename(from, to))
}

func (s *server) truncate() {
	s.did("truncate")
	s.must(os.Truncate(s.path, 0))
}

func (s *server) remove(n int) {
	s.did("remove %d", n)
	s.must(os.Remove(s.at(n)))
}

// copyPart copies a part of the log's bytes, like a program that reads and writes bit by bit at some moment.
func (s *server) copyPart(part, of int) {
	s.did("copy %d/%d", part, of)
	content, err := os.ReadFile(s.path)
	s.must(err)
	f, err := os.OpenFile(s.at(1), os.O_CREATE|os.O_WRONLY, 0o644)
	s.must(err)
	_, err = f.Write(content[:len(content)*part/of])
	s.must(errors.Join(err, f.Close()))
}

// compressors are reused, because each takes a megabyte.
var compressors = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

func (s *server) compressPart(n, part, of int) {
	s.did("compress %d %d/%d", n, part, of)
	content, err := os.ReadFile(s.at(n))
	s.must(err)
	var packed bytes.Buffer
	z := compressors.Get().(*gzip.Writer)
	defer compressors.Put(z)
	z.Reset(&packed)
	_, err = z.Write(content)
	s.must(errors.Join(err, z.Close()))
	s.must(os.WriteFile(s.at(n)+".gz", packed.Bytes()[:packed.Len()*part/of], 0o644))
}

// rotations are the steps of logrotate, one system call after another, on a log with one rotated file.
var rotations = []struct {
	name  string
	steps []func(s *server)
}{
	{"rename", []func(*server){
		func(s *server) { s.move(s.at(1), s.at(2)) },
		func(s *server) { s.move(s.path, s.at(1)); s.write(1) },
		func(s *server) { s.must(os.WriteFile(s.path, nil, 0o644)) },
		func(s *server) { s.write(2); s.reopen(); s.write(3) },
		func(s *server) { s.write(2) },
	}},
	{"rename and no new file", []func(*server){
		func(s *server) { s.move(s.at(1), s.at(2)); s.move(s.path, s.at(1)) },
		func(s *server) { s.write(1) },
		func(s *server) { s.reopen() },
		func(s *server) { s.write(3) },
	}},
	{"compress the last but one", []func(*server){
		func(s *server) { s.move(s.at(1), s.at(2)); s.move(s.path, s.at(1)); s.reopen(); s.write(1) },
		func(s *server) { s.compressPart(2, 1, 2) },
		func(s *server) { s.compressPart(2, 1, 1) },
		func(s *server) { s.remove(2) },
		func(s *server) { s.write(2) },
	}},
	{"rename and compress", []func(*server){
		func(s *server) { s.move(s.at(1), s.at(2)); s.move(s.path, s.at(1)); s.reopen() },
		func(s *server) { s.write(2) },
		func(s *server) { s.compressPart(1, 0, 1) },
		func(s *server) { s.compressPart(1, 1, 1) },
		func(s *server) { s.remove(1) },
	}},
	{"rename twice", []func(*server){
		func(s *server) { s.move(s.at(1), s.at(2)) },
		func(s *server) { s.move(s.path, s.at(1)); s.reopen(); s.write(4) },
		func(s *server) { s.compressPart(2, 1, 1); s.remove(2) },
		func(s *server) { s.move(s.at(2)+".gz", s.at(3)+".gz"); s.move(s.at(1), s.at(2)) },
		func(s *server) { s.move(s.path, s.at(1)); s.reopen(); s.write(4) },
	}},
	{"copy and truncate", []func(*server){
		func(s *server) { s.move(s.at(1), s.at(2)) },
		func(s *server) { s.copyPart(0, 1) },
		func(s *server) { s.copyPart(1, 2) },
		func(s *server) { s.copyPart(1, 1) },
		func(s *server) { s.truncate() },
		func(s *server) { s.write(4) },
	}},
	{"copy, truncate and compress", []func(*server){
		func(s *server) { s.move(s.at(1), s.at(2)); s.copyPart(1, 1) },
		func(s *server) { s.truncate() },
		func(s *server) { s.write(6) },
		func(s *server) { s.compressPart(1, 1, 1) },
		func(s *server) { s.remove(1) },
	}},
	{"copy and truncate twice", []func(*server){
		func(s *server) { s.move(s.at(1), s.at(2)); s.copyPart(1, 1) },
		func(s *server) { s.truncate(); s.write(4) },
		func(s *server) { s.move(s.at(2), s.at(3)); s.move(s.at(1), s.at(2)); s.copyPart(1, 1) },
		func(s *server) { s.truncate() },
		func(s *server) { s.write(4) },
	}},
}

// kill ends a reader as a signal does: nothing is saved.
type kill struct{}

// watched reads the log, and calls at with the number of each moment between the reader's steps.
func watched(l Log, at func(moment int, stage string)) (r *Reading, err error, killed bool) {
	moment := -1
	l.at = func(stage string) {
		moment++
		at(moment, stage)
	}
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(kill); !ok {
				panic(p)
			}
			killed = true
		}
	}()
	r, err = l.CatchUp(context.Background())
	return r, err, false
}

// schedules calls do for each way to assign the steps of a rotation to the moments of a reader, in order: the first at
// moment[0], and so on.
func schedules(steps, moments, interruptions int, do func(moment []int)) {
	moment := make([]int, steps)
	var next func(i, from, left int)
	next = func(i, from, left int) {
		if i == steps {
			do(moment)
			return
		}
		for m := from; m <= moments; m++ {
			interrupts := i == 0 || m != from
			if interrupts && left == 0 && m < moments {
				continue
			}
			moment[i] = m
			if interrupts {
				next(i+1, m, left-1)
			} else {
				next(i+1, m, left)
			}
		}
	}
	next(0, 0, interruptions)
}

const moments = 14 // number of moments in an undisturbed reading of three files

// TestEveryInterleaving puts the steps of each rotation between the steps of a reader in every way, with a reader that
// survives and one that is killed at every third of its steps. The next reading must count exactly what was written. If
// all lines are the same, the result may be unknown.
func TestEveryInterleaving(t *testing.T) {
	t.Parallel()
	for _, rotation := range rotations {
		for _, alike := range []bool{false, true} {
			for _, begun := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/alike=%t/begun=%t", rotation.name, alike, begun), func(t *testing.T) {
					t.Parallel()
					dir, state, tried, unknown := t.TempDir(), inMemory(t), 0, 0
					seen := make(map[string]bool)
					try := func(when []int, killAt int) {
						if killAt >= 0 { // what was to happen at a moment that the reader does not reach happens after it
							when = slices.Clone(when)
							for i := range when {
								if when[i] >= killAt {
									when[i] = moments
								}
							}
						}
						key := fmt.Sprint(when, killAt)
						if seen[key] { // so many schedules are one and the same
							return
						}
						seen[key] = true
						tried++
						s := newServerIn(t, fmt.Sprintf("%s/%d", dir, tried), state)
						defer s.end()
						if s.slow(); alike {
							s.alike()
						}
						s.write(3)
						s.rename()
						s.reopen()
						s.write(3)
						if begun {
							if _, err, _ := watched(s.log(), func(int, string) {}); err != nil {
								t.Fatal(err)
							}
							s.write(2)
						}
						done := 0
						run := func(moment int) {
							for done < len(when) && when[done] <= moment {
								rotation.steps[done](s)
								done++
							}
						}
						_, err, _ := watched(s.log(), func(moment int, stage string) {
							s.did("%s", stage)
							if moment == killAt {
								s.did("KILL")
								panic(kill{})
							}
							run(moment)
						})
						if err != nil && !errors.Is(err, errRotated) {
							t.Fatalf("%v: %v", s.trace, err)
						}
						run(moments)
						r, err, _ := watched(s.log(), func(int, string) {})
						if err != nil {
							t.Fatalf("%q, killed at %d: %v", s.trace, killAt, err)
						}
						_, _, lost := r.Lost(Kept)
						if got := r.Count(KindSent, Kept); got != s.n && !lost || lost && !alike {
							t.Fatalf("%q, killed at %d: counted %d, want %d; said to be lost: %t", s.trace, killAt, got, s.n, lost)
						}
						if lost {
							unknown++
						}
					}
					interruptions := 1
					if *allInterleavings {
						interruptions = len(rotation.steps)
					}
					schedules(len(rotation.steps), moments, interruptions, func(when []int) { try(when, -1) })
					schedules(len(rotation.steps), moments, 1, func(when []int) {
						for killAt := 0; killAt < moments; killAt += 3 {
							try(when, killAt)
						}
					})
					t.Logf("%d interleavings; of %d nobody knows", tried, unknown)
				})
			}
		}
	}
}

// TestOneReaderAtATime starts a second reader at each step of a first.
func TestOneReaderAtATime(t *testing.T) {
	s := newServer(t)
	s.write(5)
	_, err, _ := watched(s.log(), func(_ int, stage string) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.log().CatchUp(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("at %s a second reader got %v", stage, err)
		}
	})
	s.must(err)
	wantSent(t, catchUp(t, s.log()), 5)
}

// TestRandomSequences does everything that may happen to a log in random order, also between the reader's steps.
func TestRandomSequences(t *testing.T) {
	t.Parallel()
	unknown := 0
	dir, state := t.TempDir(), inMemory(t)
	for seed := *firstSeed; seed < *sequences; seed++ {
		random := rand.New(rand.NewPCG(seed, 2))
		s := newServerIn(t, fmt.Sprintf("%s/%d", dir, seed), state)
		alike := seed%4 == 3
		if s.slow(); alike {
			s.alike()
		}
		s.write(1 + random.IntN(5))
		s.rename()
		s.reopen()
		s.write(1 + random.IntN(5))
		var pending []func(*server)
		copies := random.IntN(3) == 0 // one log is rotated in one way
		act := func() {
			switch {
			case len(pending) > 0:
				pending[0](s)
				pending = pending[1:]
			case random.IntN(2) == 0:
				s.write(random.IntN(4))
			default:
				pending = s.rotation(copies, random)
			}
		}
		for range 4 + random.IntN(8) {
			for range random.IntN(10) {
				act()
			}
			killAt := -1
			if random.IntN(3) == 0 {
				killAt = random.IntN(20)
			}
			often := random.IntN(4)
			r, err, killed := watched(s.log(), func(moment int, stage string) {
				s.did("%s", stage)
				if moment == killAt {
					s.did("KILL")
					panic(kill{})
				}
				for often > 0 && random.IntN(4) < often {
					act()
				}
			})
			s.did(".")
			if err != nil && !errors.Is(err, errRotated) && !killed {
				t.Fatalf("seed %d: %v\n%q", seed, err, s.trace)
			}
			if r != nil {
				if got := r.Count(KindSent, Kept); got > s.n {
					if _, _, lost := r.Lost(Kept); !lost {
						t.Fatalf("seed %d: counted %d of %d\n%q", seed, got, s.n, s.trace)
					}
				}
			}
		}
		for len(pending) > 0 {
			act()
		}
		r, err, _ := watched(s.log(), func(int, string) {})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		_, _, lost := r.Lost(Kept)
		if got := r.Count(KindSent, Kept); got != s.n && !lost || lost && !alike && !copies {
			t.Fatalf("seed %d, copies %t: counted %d, want %d; said to be lost: %t\n%q", seed, copies, got, s.n, lost, s.trace)
		}
		if lost {
			unknown++
		}
		s.end()
	}
	t.Logf("%d sequences; of %d nobody knows", *sequences, unknown)
	if uint64(unknown)*5 > *sequences {
		t.Error("that is too often")
	}
}

// rotation returns the steps of a rotation for the existing number of files.
func (s *server) rotation(copies bool, random *rand.Rand) []func(*server) {
	var steps []func(*server)
	for n := 40; n > 0; n-- {
		for _, gz := range []string{"", ".gz"} {
			from, to := s.at(n)+gz, s.at(n+1)+gz
			if _, err := os.Stat(from); err == nil {
				steps = append(steps, func(s *server) { s.move(from, to) })
			}
		}
	}
	write := func(s *server) { s.write(random.IntN(3)) }
	if copies {
		steps = append(steps, func(s *server) { s.copyPart(0, 1) }, func(s *server) { s.copyPart(1, 3) }, func(s *server) { s.copyPart(1, 1) },
			func(s *server) { s.truncate() }, write)
	} else {
		steps = append(steps, func(s *server) { s.move(s.path, s.at(1)) }, write)
		if random.IntN(2) == 0 {
			steps = append(steps, func(s *server) { s.must(os.WriteFile(s.path, nil, 0o644)) }, write)
		}
		steps = append(steps, (*server).reopen, write)
	}
	if n := 1 + random.IntN(2); random.IntN(4) > 0 {
		steps = append(steps, func(s *server) {
			if _, err := os.Stat(s.at(n)); err != nil {
				return
			}
			s.compressPart(n, 1, 2)
		}, write, func(s *server) {
			if _, err := os.Stat(s.at(n)); err == nil {
				s.compressPart(n, 1, 1)
			}
		}, func(s *server) {
			if _, err := os.Stat(s.at(n)); err == nil {
				s.remove(n)
			}
		})
	}
	return slices.Clip(steps)
}
