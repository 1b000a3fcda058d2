package lifeline

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns both ends of a connection on loopback.
func pair(t *testing.T) (conn, other net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	if conn, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if other, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = conn.Close(), other.Close() })
	return conn, other
}

var errWhy = errors.New("told to stop")

// wait reads until the read ends, which must not take long.
func wait(t *testing.T, conn net.Conn) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-time.After(5 * time.Second):
		t.Fatal("the read did not end")
		return nil
	}
}

func TestEndDuringAWait(t *testing.T) {
	for name, how := range map[string]struct {
		bind func(context.Context, net.Conn) *Line
		want error
	}{
		"deadline": {func(ctx context.Context, conn net.Conn) *Line { return Bind(ctx, conn) }, os.ErrDeadlineExceeded},
		"closing":  {func(ctx context.Context, conn net.Conn) *Line { return BindClosing(ctx, conn) }, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			conn, _ := pair(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			line := how.bind(ctx, conn)
			time.AfterFunc(20*time.Millisecond, func() { cancel(errWhy) })
			err := line.Cause(wait(t, conn))
			if !errors.Is(err, errWhy) || !errors.Is(err, how.want) || err.Error() != errWhy.Error() {
				t.Errorf("got %v, want %v for %v", err, how.want, errWhy)
			}
			for range 2 {
				if line.Release() {
					t.Error("Release reports an unchanged connection")
				}
			}
		})
	}
}

func TestEndBeforeBinding(t *testing.T) {
	conn, _ := pair(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 0, errWhy)
	defer cancel()
	line := Bind(ctx, conn)
	if err := line.Cause(wait(t, conn)); !errors.Is(err, errWhy) {
		t.Errorf("got %v, want %v", err, errWhy)
	}
	if line.Release() {
		t.Error("Release reports an unchanged connection")
	}
}

func TestEndAfterRelease(t *testing.T) {
	conn, other := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	line := Bind(ctx, conn)
	for range 2 {
		if !line.Release() {
			t.Error("Release reports a changed connection")
		}
	}
	cancel()
	if _, err := other.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, conn); err != nil {
		t.Errorf("a released connection: %v", err)
	}
	closing := BindClosing(ctx, nothing{}) // ended already, so it is closed at once
	if closing.Release() {
		t.Error("Release reports an unchanged connection")
	}
}

type nothing struct{}

func (nothing) Close() error { return nil }

// TestDeadlineOfOnesOwn checks that the caller's deadline is never moved past the context's end.
func TestDeadlineOfOnesOwn(t *testing.T) {
	conn, other := pair(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	line := Bind(ctx, conn)
	if err := line.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, conn); !errors.Is(line.Cause(err), os.ErrDeadlineExceeded) || line.Cause(err) != err {
		t.Errorf("got %v, want an expired deadline", err)
	}
	if err := line.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	cancel(errWhy)
	if err := line.Cause(wait(t, conn)); !errors.Is(err, errWhy) {
		t.Errorf("got %v, want %v", err, errWhy)
	}
	if err := line.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, conn); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want no new wait", err)
	}
	line.Release()
	// After the release, the owner may set deadlines again, for example to say goodbye.
	if err := conn.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, conn); err != nil {
		t.Error(err)
	}
}

func TestCauseOfNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	conn, _ := pair(t)
	line := Bind(ctx, conn)
	defer line.Release()
	if err := line.Cause(io.EOF); err != io.EOF {
		t.Errorf("got %v before the context ended", err)
	}
	cancel()
	if err := line.Cause(nil); err != nil {
		t.Errorf("got %v for a successful exchange", err)
	}
}

// TestEndAtAnyMoment checks that a connection released as unchanged has no deadline, and any other one has, whenever
// the context ends.
func TestEndAtAnyMoment(t *testing.T) {
	conn, other := pair(t)
	go func() {
		for {
			if _, err := other.Write([]byte("x")); err != nil {
				return
			}
		}
	}()
	for range 500 {
		if err := conn.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		line := Bind(ctx, conn)
		var all sync.WaitGroup
		all.Go(cancel)
		all.Go(func() { _ = line.SetReadDeadline(time.Now().Add(time.Hour)) })
		whole := line.Release()
		_, err := conn.Read(make([]byte, 1))
		all.Wait()
		if whole && err != nil || !whole && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("released unchanged %t, but reading returns %v", whole, err)
		}
		if again := line.Release(); again != whole {
			t.Fatalf("released %t, then %t", whole, again)
		}
	}
	_ = conn.Close()
}
