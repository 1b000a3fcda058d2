package dump

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/stepwatch/stepwatch/steps/archive"
)

// The kinds of blocks after the table of contents of the custom format (pg_backup_custom.c).
const (
	blockData  = 1
	blockBlobs = 3
)

// readCustom reads the custom format: the table of contents, followed by the data in blocks.
func readCustom(from io.Reader) (*Dump, error) {
	in := bufio.NewReaderSize(from, 64<<10)
	t, err := readTOC(in)
	if err != nil {
		return nil, err
	}
	if t.format != formatCustom {
		return nil, fmt.Errorf("%w but the table of contents of one: name its directory or its tar archive", ErrFormat)
	}
	d := t.dump("custom")
	blocks := &tocReader{from: in, intSize: t.intSize}
	for {
		kind, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return d, err
		}
		number := blocks.int()
		e, promised := t.data[number]
		switch {
		case blocks.err != nil:
		case !promised:
			return d, fmt.Errorf("%w: it has data that is not in its table of contents", archive.ErrDamaged)
		case kind == blockData:
			err = t.block(blocks, e)
		case kind == blockBlobs:
			for err == nil && blocks.int() != 0 && blocks.err == nil {
				err = t.block(blocks, entry{})
			}
		default:
			return d, fmt.Errorf("%w: a block of data has the unknown kind %d", archive.ErrDamaged, kind)
		}
		if blocks.err != nil {
			err = blocks.err
		}
		if errors.Is(err, archive.ErrTruncated) {
			err = fmt.Errorf("%w: in %s", archive.ErrTruncated, e.what)
		}
		if err != nil {
			return d, err
		}
		delete(t.data, number)
	}
	for _, e := range t.data {
		return d, fmt.Errorf("%w: the data of %s and of %d more are missing", archive.ErrTruncated, e.what, len(t.data)-1)
	}
	return d, nil
}

// block reads one block of data to its end.
func (t *toc) block(from *tocReader, e entry) error {
	parts := &chunks{from: from}
	var unpacked io.Reader = parts
	switch t.compress {
	case compressGzip:
		z, err := zlib.NewReader(parts)
		if errors.Is(err, io.EOF) && from.err == nil {
			return nil // a block without a byte
		}
		if err != nil {
			return unpackError(err, e)
		}
		unpacked = z
	case compressZstd:
		z, err := zstd.NewReader(parts, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return unpackError(err, e)
		}
		defer z.Close()
		unpacked = z
	case compressNone, compressLZ4: // lz4 is not unpacked: only the presence of all parts is checked
	default:
		return fmt.Errorf("%w: its header has the unknown compression %d", archive.ErrDamaged, t.compress)
	}
	checksCopy := e.copy && t.compress != compressLZ4
	if err := readRows(unpacked, checksCopy); err != nil {
		return unpackError(err, e)
	}
	_, err := io.Copy(io.Discard, parts)
	return err
}

// unpackError returns an error that names the data that cannot be unpacked.
func unpackError(err error, e entry) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, archive.ErrTruncated), errors.Is(err, archive.ErrDamaged), errors.Is(err, archive.ErrProgram), errors.As(err, &path),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	what := e.what
	if what == "" {
		what = "a large object"
	}
	return fmt.Errorf("%w: the data of %s cannot be unpacked: %w", archive.ErrDamaged, what, err)
}

// readRows reads data to the end. The data of a COPY end with a line `\.` and blank lines.
func readRows(from io.Reader, copied bool) error {
	last := &ending{}
	if _, err := io.Copy(last, from); err != nil {
		return err
	}
	if copied && !bytes.HasSuffix(bytes.TrimRight(last.bytes, "\n"), []byte(`\.`)) {
		return fmt.Errorf(`%w: the line \. at the end of the data is missing`, archive.ErrTruncated)
	}
	return nil
}

// ending keeps the last bytes.
type ending struct{ bytes []byte }

func (e *ending) Write(p []byte) (int, error) {
	const kept = 16
	e.bytes = append(e.bytes, p[max(0, len(p)-kept):]...)
	e.bytes = append(e.bytes[:0], e.bytes[max(0, len(e.bytes)-kept):]...)
	return len(p), nil
}

// chunks joins the parts of a block. Each part is its length and that number of bytes; length 0 ends the block.
type chunks struct {
	from *tocReader
	left int
	over bool
}

func (c *chunks) Read(p []byte) (int, error) {
	for c.left == 0 && !c.over {
		c.left = c.from.int()
		if c.from.err != nil {
			return 0, c.from.err
		}
		if c.left < 0 {
			return 0, fmt.Errorf("%w: a part of its data has a negative length", archive.ErrDamaged)
		}
		c.over = c.left == 0
	}
	if c.over {
		return 0, io.EOF
	}
	n, err := c.from.from.Read(p[:min(len(p), c.left)])
	c.left -= n
	if errors.Is(err, io.EOF) {
		err = archive.ErrTruncated
		c.from.fail(err)
	}
	return n, err
}

// readDirectory reads the directory format: toc.dat, and one file for the data of each entry.
func readDirectory(ctx context.Context, path string) (*Dump, error) {
	f, err := os.Open(filepath.Join(path, "toc.dat"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it is a directory without a toc.dat", ErrFormat)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	t, err := readTOC(bufio.NewReader(f))
	if err != nil {
		return nil, err
	}
	if t.format != formatDirectory && t.format != formatTar {
		return nil, fmt.Errorf("%w: its toc.dat is of another format", ErrFormat)
	}
	d := t.dump("directory")
	for _, e := range t.data {
		if !filepath.IsLocal(e.file) {
			return d, fmt.Errorf("%w: its table of contents names the file %.80q outside of it", archive.ErrDamaged, e.file)
		}
		if err := readData(ctx, path, e); err != nil {
			return d, err
		}
	}
	return d, nil
}

// readData reads the file of one entry. If that lists large objects, it reads these too.
func readData(ctx context.Context, dir string, e entry) error {
	r, err := openData(ctx, filepath.Join(dir, e.file), e)
	if err != nil {
		return err
	}
	defer r.Close()
	if !strings.HasPrefix(e.file, "blobs") {
		if err := readRows(r, e.copy); err != nil {
			if errors.Is(err, archive.ErrTruncated) || errors.Is(err, archive.ErrDamaged) {
				err = fmt.Errorf("%w (%s, %s)", err, e.file, e.what)
			}
			return err
		}
		return nil
	}
	buffer := make([]byte, 0, lineKept)
	for { // each line has the number of a large object and its file
		line, err := nextLine(r, buffer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, file, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		if !filepath.IsLocal(file) || !strings.HasSuffix(string(line), "\n") {
			return fmt.Errorf("%w: %s has a line without a file", archive.ErrDamaged, e.file)
		}
		object, err := openData(ctx, filepath.Join(dir, file), entry{what: "a large object"})
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, object)
		object.Close()
		if err != nil {
			return fmt.Errorf("%w (%s)", err, file)
		}
	}
}

// openData opens a file of the directory format. A compressed file has another suffix.
func openData(ctx context.Context, path string, e entry) (*archive.Reader, error) {
	for _, suffix := range []string{"", ".gz", ".zst", ".lz4"} {
		r, err := archive.Open(ctx, path+suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if r.Kind == "" && suffix != "" {
			r.Close()
			return nil, fmt.Errorf("%w: %s is not compressed", archive.ErrDamaged, filepath.Base(path+suffix))
		}
		return r, nil
	}
	return nil, missingData(filepath.Base(path), e)
}

// readTar reads the tar format: toc.dat first, then one file for the data of each entry. Large objects are in files
// blob_N.dat and listed in blobs.toc, which has another name in the table of contents.
func readTar(ctx context.Context, r *archive.Reader) (*Dump, error) {
	var t *toc
	files := make(map[string]entry)
	objects, listed, lists := 0, 0, 0
	_, err := r.Each(func(name string, content io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case t == nil && name != "toc.dat":
			return fmt.Errorf("%w: it is a tar archive without a toc.dat", ErrFormat)
		case t == nil:
			var err error
			if t, err = readTOC(bufio.NewReader(content)); err != nil {
				return err
			}
			for _, e := range t.data {
				if e.what == largeObjects {
					lists++
				} else {
					files[e.file] = e
				}
			}
			return nil
		case strings.HasPrefix(name, "blob_"):
			objects++
		case strings.HasPrefix(name, "blobs"):
			lines := &lineCount{}
			_, err := io.Copy(lines, content)
			listed += lines.n
			lists--
			return err
		}
		e := files[name]
		delete(files, name)
		if err := readRows(content, e.copy); err != nil {
			return fmt.Errorf("%w (%.80s)", err, name)
		}
		return nil
	})
	if t == nil {
		return nil, err
	}
	d := t.dump("tar")
	if err != nil {
		return d, err
	}
	for name, e := range files {
		return d, missingData(name, e)
	}
	if objects != listed || lists > 0 {
		return d, fmt.Errorf("%w: it has %d of %d large objects", archive.ErrTruncated, objects, listed)
	}
	return d, nil
}

func missingData(name string, e entry) error {
	return fmt.Errorf("%w: the file %.80s with the data of %s is missing", archive.ErrTruncated, name, e.what)
}

// lineCount counts lines.
type lineCount struct{ n int }

func (c *lineCount) Write(p []byte) (int, error) {
	c.n += bytes.Count(p, []byte("\n"))
	return len(p), nil
}
