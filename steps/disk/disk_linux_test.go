package disk

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	usage, err := Read(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if r := usage.Bytes.Ratio(); r <= 0 || r > 1 {
		t.Errorf("got %v of %+v", r, usage.Bytes)
	}
	if _, err := Read("/no/such"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := Read("/proc"); err == nil || !strings.Contains(err.Error(), "without blocks") {
		t.Errorf("got %v", err)
	}
}

func TestRatio(t *testing.T) {
	for share, want := range map[Share]float64{{}: 0, {Used: 1, Free: 3}: 0.25, {Used: 5}: 1} {
		if got := share.Ratio(); got != want {
			t.Errorf("%+v: got %v, want %v", share, got, want)
		}
	}
}
