//go:build linux

package stack

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
)

// syslog writes what programs send to a /dev/log into a file, in the format that rsyslog calls traditional: there is no
// syslog in the namespaces.
type syslog struct {
	socket *net.UnixConn
	file   *os.File
	done   sync.WaitGroup
	failed error // of writing; read it once done is
}

// startSyslog listens at socket on behalf of a host of this name.
func startSyslog(socket, file, host string) (*syslog, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err == nil {
		err = os.Chmod(socket, 0o666)
	}
	if err != nil {
		return nil, fmt.Errorf("syslog of %s: %w", host, errors.Join(err, conn.Close()))
	}
	l := &syslog{socket: conn, file: log}
	l.done.Go(func() {
		for packet := make([]byte, 64<<10); ; {
			n, err := conn.Read(packet)
			if err != nil {
				return // closed
			}
			if _, err := log.Write(traditional(packet[:n], host)); err != nil && l.failed == nil {
				l.failed = err
			}
		}
	})
	return l, nil
}

// traditional turns what syslog(3) of libc sends, "<priority>Mmm dd hh:mm:ss tag: text", into a line with the host.
func traditional(packet []byte, host string) []byte {
	const stamp = len("Nov 30 12:00:00 ")
	text := bytes.TrimRight(packet, "\n\x00")
	if i := bytes.IndexByte(text, '>'); i >= 0 {
		text = text[i+1:]
	}
	at := min(stamp, len(text))
	return fmt.Appendf(nil, "%s%s %s\n", text[:at], host, text[at:])
}

func (l *syslog) close() error {
	err := l.socket.Close()
	l.done.Wait()
	return errors.Join(err, l.file.Close(), l.failed)
}
