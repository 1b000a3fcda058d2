package mailqueue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answer joins showq's attributes; each message and the whole answer end with an empty name.
func answer(lists ...string) string {
	text := ""
	for _, list := range lists {
		text += strings.ReplaceAll(list, " ", "\x00") + "\x00\x00"
	}
	return text + "\x00"
}

const (
	protocol = "protocol mail_queue_list_protocol"
	first    = "queue_name deferred queue_id 4jWvTg4Kq6z3f time 1795270759 size 240 forced_expire 0 sender a@example.test recipient b@gmail.com reason refused recipient c@GMAIL.com reason refused recipient d@other.test reason timeout"
	second   = "queue_name active queue_id 764D49C6071 time 1795270700 size 10 sender a@example.test recipient e@gmail.com"
)

func TestShowq(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   string // the queue, or the error
	}{
		"empty":             {answer(protocol), "map[active:0 deferred:0 hold:0 incoming:0 maildrop:0] 0 bytes, nobody waits"},
		"empty, no name":    {answer(), "map[active:0 deferred:0 hold:0 incoming:0 maildrop:0] 0 bytes, nobody waits"},
		"two":               {answer(protocol, first, second), "map[active:1 deferred:1 hold:0 incoming:0 maildrop:0] 250 bytes, oldest 1795270700, 2 wait for gmail.com: refused"},
		"a later attribute": {answer(protocol, second+" color blue"), "map[active:1 deferred:0 hold:0 incoming:0 maildrop:0] 10 bytes, oldest 1795270700, 1 wait for gmail.com: "},
		"nothing":           {"", "the answer ends early"},
		"cut in a name":     {"protocol", "the answer ends early"},
		"cut in a value":    {"protocol\x00mail_queue", "the answer ends early"},
		"cut in a message":  {answer(protocol, first)[:90], "the answer ends early"},
		"no end":            {answer(protocol, first)[:len(answer(protocol, first))-1], "the answer ends early"},
		"another protocol":  {answer("protocol anvil_protocol"), `unknown format: the socket's protocol is "anvil_protocol", which is not that of showq`},
		"another queue":     {answer(protocol, "queue_name corrupt queue_id 1 time 1 size 1"), `unknown format: message 1 is in a queue called "corrupt"`},
		"no id":             {answer(protocol, "queue_name active time 1 size 1"), "unknown format: a message without queue_id or time"},
		"no time":           {answer(protocol, "queue_name active time x size 1"), `unknown format: the time is "x"`},
		"negative size":     {answer(protocol, "size -1"), `unknown format: the size is "-1"`},
		"endless value":     {"protocol\x00" + strings.Repeat("x", 2*attributeLimit), "unknown format: a name or value of more than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "showq")
			serve(t, socket, c.answer)
			q, err := Showq(t.Context(), socket)
			if got := strings.TrimPrefix(shown(q, err), "read "+socket+": "); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

// serve answers the next connection to a unix socket.
func serve(t *testing.T, socket, answer string) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte(answer)) // the client may have seen enough
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
}

// shown returns a queue, or the error, in one line.
func shown(q *Queue, err error) string {
	if err != nil {
		return err.Error()
	}
	s := fmt.Sprintf("%v %d bytes", q.Counts, q.Bytes)
	if !q.Oldest.IsZero() {
		s += fmt.Sprintf(", oldest %d", q.Oldest.Unix())
	}
	domain, d := q.Worst()
	if d == nil {
		return s + ", nobody waits"
	}
	return s + fmt.Sprintf(", %d wait for %s: %s", d.Messages, domain, d.Reason())
}

func TestShowqCannotConnect(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	for path, want := range map[string]error{
		dead:                               ErrDown,
		filepath.Join(dir, "showq"):        ErrDown,
		filepath.Join(dir, "no", "public"): ErrMissing,
	} {
		if _, err := Showq(t.Context(), path); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
	}
}

func TestShowqThatSaysNothing(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "showq")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Showq(ctx, socket); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

func TestPostqueue(t *testing.T) {
	const line = `{"queue_name": "deferred", "queue_id": "4jWvTg4Kq6z3f", "arrival_time": 1795270759, "message_size": 240, "forced_expire": false, "sender": "", "recipients": [{"address": "b@gmail.com", "delay_reason": "deferred transport"}, {"address": "al"}]}` + "\n"
	for name, c := range map[string]struct{ output, want string }{
		"empty":         {"", "map[active:0 deferred:0 hold:0 incoming:0 maildrop:0] 0 bytes, nobody waits"},
		"two":           {line + line, "map[active:0 deferred:2 hold:0 incoming:0 maildrop:0] 480 bytes, oldest 1795270759, 2 wait for gmail.com: deferred transport"},
		"cut":           {line + line[:40], "the answer ends early"},
		"cut at a line": {line[:len(line)-1], "the answer ends early"},
		"no JSON":       {"Mail queue is empty\n", `unknown format: a line cannot be read: line 1, column 1 breaks its syntax: "Mail queue is empty": "Mail queue is empty"`},
		"another shape": {`{"queue_id": 5}` + "\n", `unknown format: a line cannot be read: its member "queue_id" is a number: "{\"queue_id\": 5}"`},
		"no id":         {"{}\n", `unknown format: a message without queue_id or arrival_time: "{}"`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := shown(parsePostqueue(context.Background(), []byte(c.output))); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestPostqueueFailure(t *testing.T) {
	for stderr, want := range map[string]error{
		"postqueue: error: unauthorized configuration directory name: /x\npostqueue: fatal: specify \"alternate_config_directories = /x\"": ErrDenied,
		"postqueue: fatal: User nobody(65534) is not allowed to view the mail queue":                                                       ErrDenied,
		"postqueue: fatal: Queue report unavailable - mail system is down":                                                                 ErrDown,
		"postqueue: fatal: open /x/main.cf: No such file or directory":                                                                     ErrMissing,
	} {
		if err := postqueueFailure("/x", stderr, firstLine([]byte(stderr))); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

// list is the output of -bp: a frozen message that one recipient already has, and a bounce.
const list = ` 4h   285 1xUlyT-00000y-06 <alice@example.test> *** frozen ***
          bob@gmail.com
        D carol@other.test

 3m  1.5K 1xUlyT-0000000000D-00Ab <> (root)
          bob@gmail.com

`

func TestEximList(t *testing.T) {
	arrived := int64(1795270913) // by the ids
	now := time.Unix(arrived+4*3600+600, 0)
	for name, c := range map[string]struct{ output, want string }{
		"empty":      {"", "map[frozen:0 waiting:0] 0 bytes, nobody waits"},
		"two":        {list, "map[frozen:1 waiting:1] 1821 bytes, oldest 1795270913, 2 wait for gmail.com: "},
		"cut":        {list[:100], "the answer ends early"},
		"no end":     {strings.TrimSuffix(list, "\n"), "the answer ends early"},
		"unreadable": {"      1xUlyT-00000y-06\n    *** spool format error: size=300 ***\n", `unknown format: a line is "      1xUlyT-00000y-06"`},
		"Postfix":    {"Mail queue is empty\n", `unknown format: a line is "Mail queue is empty"`},
		"size":       {strings.Replace(list, "285", "28X", 1), `unknown format: a size is "28X"`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := shown(parseExim(context.Background(), []byte(c.output), now)); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
	// An id of the same form without a time.
	if got := eximArrival("AAAAAA-000010-0D", "3", "m", now); !got.Equal(now.Add(-3 * time.Minute)) {
		t.Errorf("got %s, want three minutes before %s", got, now)
	}
}

// envelopes is what OpenSMTPD 7.4 lists of four messages: two recipients, one of them suspended and with a separator in its
// local part; one that waits; one of which an attempt runs, and one that is held back.
const envelopes = `5e2210d6361c9e60|inet4|mda|auth,suspend|alice@example.test|bob+a|b@example.test|bob+a|b@example.test|1796027172|1796027172|0|0|pending|-2|
5e2210d6a7dcb962|inet4|mda|auth|alice@example.test|carol@example.test|carol@example.test|1796027172|1796027172|0|0|pending|-2|
9e38ab57d4ad63bd|inet4|mta|auth|alice@example.test|x@gmail.com|x@gmail.com|1796027150|1796372750|1796027151|1|pending|398|No MX found | for domain
aeebab8f6c46235c|inet6|mta|-|@|z@gmail.com|z@gmail.com|1796027160|1796027160|0|0|inflight|3|
b4d0e067b62da519|local|bounce|hold|@|alice@example.test|alice@example.test|1796027185|1796027185|0|0|pending|0|
`

func TestOpenSMTPDList(t *testing.T) {
	for name, c := range map[string]struct{ output, want string }{
		"empty":      {"", "map[held:0 inflight:0 pending:0 suspended:0] 0 bytes, nobody waits"},
		"four":       {envelopes, "map[held:1 inflight:1 pending:1 suspended:1] 0 bytes, oldest 1796027150, 2 wait for example.test: "},
		"a reason":   {strings.Join(strings.SplitAfter(envelopes, "\n")[2:3], ""), "map[held:0 inflight:0 pending:1 suspended:0] 0 bytes, oldest 1796027150, 1 wait for gmail.com: No MX found | for domain"},
		"cut":        {envelopes[:100], "the answer ends early"},
		"it is down": {strings.Replace(envelopes, "pending|398", "offline|", 1), "nothing answers: OpenSMTPD went down while its queue was read"},
		"state":      {strings.Replace(envelopes, "inflight", "invalid", 1), `unknown format: the state of an envelope is "invalid"`},
		"Exim":       {list, `unknown format: a line is " 4h   285 1xUlyT-00000y-06 <alice@example.test> *** frozen ***"`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := shown(parseOpenSMTPD(context.Background(), []byte(c.output))); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
	q, err := parseOpenSMTPD(context.Background(), []byte(envelopes), "9e38ab57")
	if err != nil || q.Sought["9e38ab57"] == nil || len(q.Sought) != 1 || !q.NoBytes {
		t.Errorf("got %v %+v, wanted the message of this id", err, q)
	}
}

// TestOpenSMTPD has a program of that name say what smtpctl says.
func TestOpenSMTPD(t *testing.T) {
	for name, c := range map[string]struct {
		status, queue string // of a shell
		want          error
		warning       string
	}{
		"empty":      {`printf 'MDA running\nMTA running\nSMTP running\n'`, `true`, nil, ""},
		"paused":     {`printf 'MDA running\nMTA paused\nSMTP paused\n'`, `true`, nil, "MTA paused, SMTP paused"},
		"down":       {`echo "smtpctl: smtpd doesn't seem to be running" >&2; exit 1`, `true`, ErrDown, ""},
		"not root":   {`true`, `echo "smtpctl: need root privileges" >&2; exit 1`, ErrDenied, ""},
		"no setgid":  {`echo "smtpctl: connect: Permission denied" >&2; exit 1`, `true`, ErrDenied, ""},
		"unreadable": {`true`, `echo hello`, ErrFormat, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "smtpctl")
			script := "#!/bin/sh\nif [ \"$2\" = status ]; then " + c.status + "; else " + c.queue + "; fi\n"
			if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			q, err := OpenSMTPD(t.Context(), path)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && q.Warning != c.warning {
				t.Errorf("got the warning %q, want %q", q.Warning, c.warning)
			}
		})
	}
}

// header is a spool file in the format of Exim 4.96, with one recipient of two done.
const header = `1xUlyT-00000y-06-H
root 0 0
<alice@example.test>
1795270913 0
-received_time_usec .034537
-frozen 1795270913
-tls_resumption A
NN carol@other.test
2
bob@gmail.com
carol@other.test

011  Subject: a
008* Bcc: b!
025F From: alice@example.test
`

func TestEximSpool(t *testing.T) {
	id := "1xUlyT-00000y-06"
	file := func(text string) map[string]string {
		return map[string]string{id + "-H": text, id + "-D": id + "-D\nhi\n"}
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"empty":            {map[string]string{}, "map[frozen:0 waiting:0] 0 bytes, nobody waits"},
		"one":              {file(header), "map[frozen:1 waiting:0] 40 bytes, oldest 1795270913, 1 wait for gmail.com: "},
		"split":            {map[string]string{"T/" + id + "-H": header, "T/" + id + "-D": id + "-D\nhi\n"}, "map[frozen:1 waiting:0] 40 bytes, oldest 1795270913, 1 wait for gmail.com: "},
		"being received":   {map[string]string{id + "-D": "half", "hdr.123": "half"}, "map[frozen:0 waiting:0] 0 bytes, nobody waits"},
		"nobody done":      {file(strings.Replace(strings.Replace(header, "NN carol@other.test", "XX", 1), "-frozen 1795270913\n", "", 1)), "map[frozen:0 waiting:1] 40 bytes, oldest 1795270913, 1 wait for gmail.com: "},
		"two done":         {file(strings.Replace(header, "NN carol@other.test", "YN carol@other.test\nNN bob@gmail.com", 1)), "map[frozen:1 waiting:0] 40 bytes, oldest 1795270913, nobody waits"},
		"cut in the top":   {file(header[:60]), "the answer ends early"},
		"cut in addresses": {file(header[:strings.Index(header, "bob@")+3]), "the answer ends early"},
		"cut in a field":   {file(header[:len(header)-9]), "the answer ends early"},
		"another's":        {file("1xUlyT-00000z-06" + header[16:]), `unknown format: the first line is "1xUlyT-00000z-06-H", want "1xUlyT-00000y-06-H"`},
		"no time":          {file(strings.Replace(header, "1795270913 0", "now", 1)), `unknown format: the time of arrival is "now"`},
		"no tree":          {file(strings.Replace(header, "NN carol@other.test\n", "", 1)), `unknown format: "2" is in the list of completed recipients`},
		"count":            {file(strings.Replace(header, "\n2\n", "\n1\n", 1)), `unknown format: "carol@other.test" is after the recipients`},
		"no count":         {file(strings.Replace(header, "\n2\n", "\n", 1)), `unknown format: the number of recipients is "bob@gmail.com"`},
		"no length":        {file(header + "Date: now\n"), "unknown format: a header field without its length"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for path, text := range c.files {
				path = filepath.Join(dir, "input", path)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.MkdirAll(filepath.Join(dir, "input"), 0o755); err != nil {
				t.Fatal(err)
			}
			q, err := EximSpool(t.Context(), dir)
			if got := strings.TrimPrefix(shown(q, err), "read "+filepath.Join(dir, "input", id+"-H")+": "); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
	if _, err := EximSpool(t.Context(), t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("got %v, want %v", err, ErrMissing)
	}
}

func TestRecipientLine(t *testing.T) {
	for line, want := range map[string]string{
		"bob@x.test":                      "bob@x.test",
		"bob@x.test alice@y.test 12,-1#1": "bob@x.test",
		`"a b"@x.test 0,-1#1`:             `"a b"@x.test`,
		`"a \" b"@x.test more`:            `"a \" b"@x.test`,
		"":                                "",
		`"a b`:                            `"a b`,
	} {
		if got := addressOf(line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func TestAPI(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"counts":      {`{"active": 2, "deferred": 40, "server": "x"}`, "map[active:2 deferred:40] 0 bytes, nobody waits"},
		"all":         {`{"deferred": 3, "bytes": 99, "total": 3, "destinations": {"Gmail.com": 2, "x.test": 0}}`, "map[deferred:3] 99 bytes, 2 wait for gmail.com: "},
		"zero":        {`{"deferred": 0, "total": 0, "oldest_age_seconds": 0}`, "map[deferred:0] 0 bytes, nobody waits"},
		"cut":         {`{"active": 2, "defe`, "the answer ends early"},
		"nothing":     {``, "the answer ends early"},
		"no object":   {`[1]`, "unknown format: it is not a JSON object: it is an array"},
		"no queue":    {`{"messages": 3}`, "unknown format: the answer has none of the members active, deferred, hold, incoming, maildrop, frozen, waiting; use `I ask the API` and JSONPath instead"},
		"null":        {`{"active": null}`, "unknown format: active is null, which is not a count"},
		"text":        {`{"active": "2"}`, `unknown format: active is "2", which is not a count`},
		"negative":    {`{"active": -1}`, "unknown format: active is -1, which is not a count"},
		"small total": {`{"active": 5, "total": 4}`, "unknown format: total is 4, but the sum of the queues is 5"},
		"zero total":  {`{"active": 5, "total": 0}`, "unknown format: total is 0, but the sum of the queues is 5"},
		"where to":    {`{"active": 5, "destinations": 4}`, "unknown format: destinations is not a JSON object: it is a number"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := shown(ParseAPI([]byte(c.body))); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
	q, err := ParseAPI([]byte(`{"active": 1, "total": 7, "oldest_age_seconds": 60}`))
	if err != nil || q.Messages() != 7 || time.Since(q.Oldest).Round(time.Second) != time.Minute || q.NoAge || !q.NoBytes || !q.NoDestinations {
		t.Errorf("got %+v, %v", q, err)
	}
}

func TestRemember(t *testing.T) {
	dir, start := t.TempDir(), time.Unix(1795270000, 0)
	for i, c := range []struct {
		after    time.Duration // since start
		messages int
		want     Growth
	}{
		{0, 100, Growth{}},
		{time.Minute, 90, Growth{Reach: time.Minute}},
		{6 * time.Minute, 140, Growth{Messages: 50, Over: 5 * time.Minute, Reach: 6 * time.Minute}},
		{10*time.Minute + 30*time.Second, 120, Growth{Messages: 30, Over: 9*time.Minute + 30*time.Second, Reach: 10*time.Minute + 30*time.Second}},
		{20 * time.Minute, 130, Growth{Messages: 10, Over: 9*time.Minute + 30*time.Second, Reach: 9*time.Minute + 30*time.Second}},
		{40 * time.Minute, 500, Growth{}}, // long after the last reading
		{39 * time.Minute, 500, Growth{}}, // the clock was set back
	} {
		got, err := Remember(dir, "mx1", 10*time.Minute, Reading{start.Add(c.after), c.messages})
		if err != nil || got != c.want {
			t.Errorf("reading %d: got %+v, %v; want %+v", i, got, err, c.want)
		}
		if other, err := Remember(dir, "mx2", 10*time.Minute, Reading{start.Add(c.after + time.Duration(i)*24*time.Hour), i}); err != nil || other != (Growth{}) {
			t.Errorf("another queue: got %+v, %v", other, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "queue-growth", "*"))
	if err != nil || len(files) != 2 {
		t.Errorf("got the files %q, %v; want two", files, err)
	}
	for _, file := range files {
		if err := os.WriteFile(file, []byte(`{"half`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Remember(dir, "mx1", 10*time.Minute, Reading{start.Add(41 * time.Minute), 1}); err != nil || got != (Growth{}) {
		t.Errorf("after a damage: got %+v, %v", got, err)
	}
}

func TestRememberByManyAtOnce(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	errs := make(chan error)
	const many = 8
	for i := range many {
		go func() {
			var err error
			for j := range 20 {
				_, failed := Remember(dir, "mx1", time.Hour, Reading{now.Add(time.Duration(20*i+j) * time.Millisecond), 1})
				err = errors.Join(err, failed)
			}
			errs <- err
		}()
	}
	for range many {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	got, err := Remember(dir, "mx1", time.Hour, Reading{now.Add(time.Minute), 3})
	if err != nil || got.Messages != 2 || got.Reach == 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "queue-growth", ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestRememberWithoutTheRight(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Remember(file, "mx1", time.Hour, Reading{time.Now(), 1}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an error", err)
	}
}

func FuzzShowq(f *testing.F) {
	f.Add(answer(protocol, first, second))
	f.Fuzz(func(t *testing.T, text string) { consistent(t)(parseShowq(strings.NewReader(text))) })
}

func FuzzPostqueue(f *testing.F) {
	f.Add([]byte(`{"queue_name": "deferred", "queue_id": "4j", "arrival_time": 1795270759, "message_size": 240, "recipients": [{"address": "b@gmail.com"}]}` + "\n"))
	f.Fuzz(func(t *testing.T, output []byte) { consistent(t)(parsePostqueue(context.Background(), output)) })
}

func FuzzExim(f *testing.F) {
	f.Add([]byte(list))
	f.Fuzz(func(t *testing.T, output []byte) {
		consistent(t)(parseExim(context.Background(), output, time.Unix(1795271000, 0)))
	})
}

func FuzzOpenSMTPD(f *testing.F) {
	f.Add([]byte(envelopes))
	f.Fuzz(func(t *testing.T, output []byte) {
		q, err := parseOpenSMTPD(context.Background(), output)
		if errors.Is(err, ErrDown) {
			return
		}
		consistent(t)(q, err)
	})
}

func FuzzSpoolHeader(f *testing.F) {
	f.Add(header)
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := parseSpoolHeader(strings.NewReader(text), "1xUlyT-00000y-06"); err == nil && (m.Size < 0 || m.Arrived.IsZero()) {
			t.Errorf("got %+v", m)
		}
	})
}

func FuzzAPI(f *testing.F) {
	f.Add([]byte(`{"active": 2, "deferred": 40, "total": 43, "bytes": 18, "oldest_age_seconds": 7260, "destinations": {"gmail.com": 38}}`))
	f.Fuzz(func(t *testing.T, body []byte) { consistent(t)(ParseAPI(body)) })
}

// consistent requires either one of our errors or a queue whose numbers add up.
func consistent(t *testing.T) func(*Queue, error) {
	return func(q *Queue, err error) {
		t.Helper()
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrIncomplete) {
				t.Errorf("got %v", err)
			}
			return
		}
		if domain, d := q.Worst(); q.Messages() < 0 || q.Bytes < 0 || d != nil && (d.Messages < 1 || q.Waiting(domain) != d.Messages) {
			t.Errorf("got %+v", q)
		}
	}
}

// TestParsersEndInTime checks that no reader of a program's output goes on when its time is over.
func TestParsersEndInTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	output := bytes.Repeat([]byte("\n"), 1<<20)
	for name, parse := range map[string]func() (*Queue, error){
		"postqueue": func() (*Queue, error) { return parsePostqueue(ctx, output) },
		"exim":      func() (*Queue, error) { return parseExim(ctx, output, time.Now()) },
		"smtpctl":   func() (*Queue, error) { return parseOpenSMTPD(ctx, output) },
	} {
		if _, err := parse(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want the end of the context", name, err)
		}
	}
}

func TestEximLineLimit(t *testing.T) {
	message := " 4h  1.2K 1pQxYz-000abc-2X <alice@example.org>\n          "
	for n, want := range map[int]bool{attributeLimit - 10: true, attributeLimit - 9: false} {
		_, err := parseExim(t.Context(), []byte(message+strings.Repeat("a", n)+"\n\n"), time.Now())
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "a line has 65537 bytes, the limit is 65536") {
			t.Errorf("%d: got %.200v", n, err)
		}
	}
}
