package httpserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// slowly returns passwords whose checks take 50 ms, and tells how many there were. The password of everybody is "right".
func slowly() (*passwords, func() int) {
	var mu sync.Mutex
	count := 0
	p := newPasswords()
	p.compare = func(_, password []byte) error {
		time.Sleep(50 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		count++
		if !bytes.Equal(password, []byte("right")) {
			return errors.New("wrong")
		}
		return nil
	}
	return p, func() int { mu.Lock(); defer mu.Unlock(); return count }
}

// users have hashes that are only compared with themselves.
var users = map[string]string{"alice": "$2y$10$alice", "bob": "$2y$10$bob"}

// TestFloodOfPasswords lets four clients send wrong passwords without pause for a minute. Their checks must use a tenth of a
// processor at most, who is logged in must not wait, and who logs in for the first time must get in.
func TestFloodOfPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, count := slowly()
		if right, err := p.check(t.Context(), "192.0.2.1", users, "alice", "right"); !right || err != nil {
			t.Fatal(right, err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		for client := range 4 {
			for connection := range 16 {
				go func() {
					for i := 0; ctx.Err() == nil; i++ {
						if right, _ := p.check(ctx, fmt.Sprint("198.51.100.", client), users, "alice", fmt.Sprint("wrong", connection, i)); right {
							t.Error("a wrong password is right")
						}
						time.Sleep(10 * time.Millisecond)
					}
				}()
			}
		}
		time.Sleep(10 * time.Second)
		before := time.Now()
		if right, err := p.check(t.Context(), "192.0.2.1", users, "alice", "right"); !right || err != nil || time.Since(before) > 0 {
			t.Errorf("who is logged in: %t %v after %s", right, err, time.Since(before))
		}
		before = time.Now()
		if right, err := p.check(t.Context(), "192.0.2.1", users, "bob", "right"); !right || err != nil || time.Since(before) > 5*time.Second {
			t.Errorf("a first login: %t %v after %s", right, err, time.Since(before))
		}
		<-ctx.Done()
		time.Sleep(time.Minute)                                       // the last checks end
		if n := count(); n < 60 || n > 60*1000/50/passwordShare+2+4 { // two right ones, and one of each client after the minute
			t.Errorf("%d checks of 50 ms in a minute, want a tenth of the time", n)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.pending) > 0 || len(p.from) > 0 || len(p.wrong) > loginsKept {
			t.Errorf("%d pending, %d clients, %d kept", len(p.pending), len(p.from), len(p.wrong))
		}
	})
}

// TestSameLoginAtOnce holds that a browser that asks for several pages at once costs one check, and that other logins of the
// same client wait for their turn.
func TestSameLoginAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, count := slowly()
		for range 6 {
			go func() {
				if right, err := p.check(t.Context(), "192.0.2.1", users, "alice", "right"); !right || err != nil {
					t.Error(right, err)
				}
			}()
		}
		synctest.Wait()
		if right, err := p.check(t.Context(), "192.0.2.1", users, "bob", "right"); right || !errors.Is(err, errManyLogins) {
			t.Errorf("another login at the same time: %t %v", right, err)
		}
		time.Sleep(time.Second)
		if n := count(); n != 1 {
			t.Errorf("%d checks", n)
		}
	})
}

// TestWrongPasswordAgain holds that a scraper with a wrong password costs one check, and that it gets in when the hash is changed.
func TestWrongPasswordAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, count := slowly()
		for range 100 {
			if right, err := p.check(t.Context(), "192.0.2.1", users, "alice", "wrong"); right || err != nil {
				t.Fatal(right, err)
			}
		}
		if n := count(); n != 1 {
			t.Errorf("%d checks", n)
		}
		p.compare = func(hash, _ []byte) error { time.Sleep(time.Millisecond); return nil }
		if right, err := p.check(t.Context(), "192.0.2.1", map[string]string{"alice": "$2y$10$new"}, "alice", "wrong"); !right || err != nil {
			t.Error(right, err)
		}
		if right, err := p.check(t.Context(), "192.0.2.1", map[string]string{"bob": "$2y$10$new"}, "alice", "wrong"); right || err != nil {
			t.Error("a user who was removed", right, err)
		}
	})
}

// TestClientLeaves holds that a client that leaves does not wait.
func TestClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := slowly()
		ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
		defer leave()
		if right, err := p.check(ctx, "192.0.2.1", users, "alice", "right"); right || err == nil {
			t.Error(right, err)
		}
		time.Sleep(time.Second)
	})
}
