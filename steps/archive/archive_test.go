package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps/archive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noise returns content that compresses badly.
func noise(n int) []byte {
	b := make([]byte, n)
	source := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = 'a' + byte(source.UintN(16))
	}
	return b
}

func tarOf(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range map[string][]byte{"one": noise(3000), "two": noise(512)} {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), Typeflag: tar.TypeReg}), write(w, content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if err := errors.Join(write(w, b), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

func zipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	f, err := w.Create("one")
	if err := errors.Join(err, write(f, b), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func packed(t testing.TB, program string, b []byte) []byte {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-c")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func file(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRead checks each format: a complete archive passes, a truncated or damaged one does not.
func TestRead(t *testing.T) {
	text := noise(20000)
	for _, c := range []struct {
		name    string
		content func(t testing.TB) []byte
		want    archive.Content
	}{
		{"gzip", func(t testing.TB) []byte { return gzipped(t, text) }, archive.Content{Kind: "gzip", Files: 1, Bytes: 20000}},
		{"zstd", func(t testing.TB) []byte { return zstded(t, text) }, archive.Content{Kind: "zstd", Files: 1, Bytes: 20000}},
		{"bzip2", func(t testing.TB) []byte { return packed(t, "bzip2", text) }, archive.Content{Kind: "bzip2", Files: 1, Bytes: 20000}},
		{"xz", func(t testing.TB) []byte { return packed(t, "xz", text) }, archive.Content{Kind: "xz", Files: 1, Bytes: 20000}},
		{"lz4", func(t testing.TB) []byte { return packed(t, "lz4", text) }, archive.Content{Kind: "lz4", Files: 1, Bytes: 20000}},
		{"zip", func(t testing.TB) []byte { return zipped(t, text) }, archive.Content{Kind: "zip", Files: 1, Bytes: 20000}},
		{"tar", tarOf, archive.Content{Kind: "tar", Files: 2, Bytes: 3512}},
		{"tar.gz", func(t testing.TB) []byte { return gzipped(t, tarOf(t)) }, archive.Content{Kind: "tar with gzip", Files: 2, Bytes: 3512}},
		{"tar.zst", func(t testing.TB) []byte { return zstded(t, tarOf(t)) }, archive.Content{Kind: "tar with zstd", Files: 2, Bytes: 3512}},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole := c.content(t)
			got, err := archive.Read(t.Context(), file(t, whole))
			if err != nil || *got != c.want {
				t.Fatalf("got %+v, %v", got, err)
			}
			for n := range 20 {
				cut := whole[:len(whole)*n/20]
				_, err := archive.Read(t.Context(), file(t, cut))
				fits := errors.Is(err, archive.ErrTruncated) || c.name == "bzip2" && errors.Is(err, archive.ErrDamaged) // bzip2 has no length
				if !fits {
					t.Errorf("cut off at %d of %d: got %v", len(cut), len(whole), err)
				}
			}
			if c.name == "tar" {
				return // tar has no checksum of the content
			}
			damaged := bytes.Clone(whole)
			damaged[len(damaged)/2] ^= 0x55
			if _, err := archive.Read(t.Context(), file(t, damaged)); !errors.Is(err, archive.ErrDamaged) && !errors.Is(err, archive.ErrTruncated) {
				t.Errorf("damaged: got %v", err)
			}
		})
	}
}

func TestTarCutOffBetweenFiles(t *testing.T) {
	whole := tarOf(t)
	first := 512 + 3072 // of either file: the other ends at a block too
	if bytes.HasPrefix(whole, []byte("two")) {
		first = 512 + 512
	}
	_, err := archive.Read(t.Context(), file(t, gzipped(t, whole[:first])))
	if want := "it is truncated: the end of the tar archive is missing after 1 files"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestNoArchive(t *testing.T) {
	for content, want := range map[string]string{
		"":                          "it is truncated: it is empty",
		"hello":                     "it is not an archive of a known format",
		strings.Repeat("hello", 99): "it is not an archive of a known format",
	} {
		if _, err := archive.Read(t.Context(), file(t, []byte(content))); err == nil || err.Error() != want {
			t.Errorf("%.10q: got %v, want %s", content, err, want)
		}
	}
	if _, err := archive.Read(t.Context(), t.TempDir()); err == nil || err.Error() != "it is not an archive of a known format: it is a directory" {
		t.Errorf("a directory: got %v", err)
	}
}

// TestFlatMemory checks that the memory does not depend on the size of an archive.
func TestFlatMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zeros.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	const size = 100 << 20
	zeros := make([]byte, 1<<20)
	for range size >> 20 {
		if err := write(w, zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, err := archive.Read(t.Context(), path)
	runtime.ReadMemStats(&after)
	if err != nil || c.Bytes != size {
		t.Fatalf("got %+v, %v", c, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("took %d bytes of memory for %d", used, size)
	}
}

func TestReadStopsInTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, content := range map[string][]byte{"gzip": gzipped(t, noise(1<<20)), "zip": zipped(t, noise(1<<20))} {
		if _, err := archive.Read(ctx, file(t, content)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, seed := range [][]byte{gzipped(f, tarOf(f)), zstded(f, noise(100)), tarOf(f)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1 && (b[0] == 0xfd || b[0] == 4) {
			return // no programs here
		}
		r, err := archive.Unpack(t.Context(), bytes.NewReader(b))
		if err != nil {
			return
		}
		defer r.Close()
		_, _ = r.Each(func(string, io.Reader) error { return nil }) // it must end, whatever it finds
	})
}
