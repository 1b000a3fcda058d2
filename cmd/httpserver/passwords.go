package httpserver

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// The bounds of what checks of passwords cost. A check of a usual hash (cost 10) takes 50 ms of a processor.
const (
	bcryptLength   = 60
	bcryptCostMax  = 14               // one second a check
	passwordShare  = 10               // wrong passwords use one of so many parts of one processor at most
	passwordWait   = 10 * time.Second // for a check of others
	passwordsAside = 32               // different logins that wait, of different clients
	loginsKept     = 256              // logins whose answer is known, right ones and wrong ones each
)

// passwords checks passwords one at a time. It remembers the answers, by a keyed hash, so that a scraper costs one check. After
// a wrong password it pauses, so a flood of them leaves the processor to the runs, and a client has one login checked at a
// time, so it delays the first login of others by few checks.
type passwords struct {
	key  [32]byte
	slot chan struct{}

	mu      sync.Mutex
	right   map[login]bool
	wrong   map[login]bool
	pending map[login]*pendingCheck
	from    map[string]int
	next    time.Time // when the next check may begin
}

// login identifies a user, a hash and a password, and tells neither.
type login [sha256.Size]byte

// pendingCheck is a check that several requests wait for.
type pendingCheck struct {
	done  chan struct{}
	right bool
	err   error
}

var errManyLogins = errors.New("too many logins are being checked: ask again later")

func newPasswords() *passwords {
	p := &passwords{slot: make(chan struct{}, 1), right: make(map[login]bool), wrong: make(map[login]bool),
		pending: make(map[login]*pendingCheck), from: make(map[string]int)}
	_, _ = rand.Read(p.key[:]) // it never fails
	return p
}

// identify returns what is remembered of a login.
func (p *passwords) identify(user, hash, password string) (id login) {
	mac := hmac.New(sha256.New, p.key[:])
	for _, part := range []string{user, hash, password} {
		_ = binary.Write(mac, binary.BigEndian, uint64(len(part))) // a hash takes everything
		mac.Write([]byte(part))
	}
	mac.Sum(id[:0])
	return id
}

// check reports whether a user has a password. The error says that too many others ask.
func (p *passwords) check(ctx context.Context, peer string, users map[string]string, user, password string) (bool, error) {
	hash, known := users[user]
	if !known {
		hash = decoy(users) // the time of the answer does not tell which users there are
	}
	id := p.identify(user, hash, password)
	p.mu.Lock()
	if p.right[id] {
		p.mu.Unlock()
		return known, nil
	}
	if p.wrong[id] {
		p.mu.Unlock()
		return false, nil
	}
	check := p.pending[id]
	if check == nil {
		if p.from[peer] > 0 || len(p.pending) >= passwordsAside {
			p.mu.Unlock()
			return false, errManyLogins
		}
		check = &pendingCheck{done: make(chan struct{})}
		p.pending[id] = check
		p.from[peer]++
		go p.run(check, id, peer, hash, password, known) // others may wait for it when this request is gone
	}
	p.mu.Unlock()
	select {
	case <-check.done:
		return check.right, check.err
	case <-ctx.Done():
		return false, errManyLogins
	}
}

// run makes a check when its turn has come.
func (p *passwords) run(check *pendingCheck, id login, peer, hash, password string, known bool) {
	timer := time.NewTimer(passwordWait)
	defer timer.Stop()
	select {
	case p.slot <- struct{}{}:
		p.pause(passwordWait)
		began := time.Now()
		check.right = bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil && known
		took := time.Since(began)
		p.mu.Lock()
		if check.right {
			remember(p.right, id)
		} else {
			remember(p.wrong, id)
			p.next = time.Now().Add((passwordShare - 1) * took)
		}
		p.mu.Unlock()
		<-p.slot
	case <-timer.C:
		check.err = errManyLogins
	}
	p.mu.Lock()
	delete(p.pending, id)
	if p.from[peer]--; p.from[peer] == 0 {
		delete(p.from, peer)
	}
	p.mu.Unlock()
	close(check.done)
}

// pause waits until the next check may begin.
func (p *passwords) pause(most time.Duration) {
	p.mu.Lock()
	wait := time.Until(p.next)
	p.mu.Unlock()
	if wait > 0 {
		time.Sleep(min(wait, most))
	}
}

// remember keeps an answer. When there are too many, any other one is forgotten.
func remember(kept map[login]bool, id login) {
	for other := range kept {
		if len(kept) < loginsKept {
			break
		}
		delete(kept, other)
	}
	kept[id] = true
}

// decoy returns a hash that takes as long to check as those of the users.
func decoy(users map[string]string) string {
	longest := ""
	for _, hash := range users {
		if longest == "" || hash[4:6] > longest[4:6] || hash[4:6] == longest[4:6] && hash < longest {
			longest = hash
		}
	}
	return longest
}
