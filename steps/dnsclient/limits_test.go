package dnsclient

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// reply returns the answer to a question with many records of one kind, each with the compressed name of the question. It
// claims as many records as count says.
func reply(query []byte, count uint16, kind uint16, records int, data []byte) []byte {
	packet := bytes.Clone(query[:headerSize])
	packet[2] |= 0x80
	binary.BigEndian.PutUint16(packet[6:], count)
	binary.BigEndian.PutUint32(packet[8:], 0)
	packet = append(packet, query[headerSize:skipName(query, headerSize)+4]...)
	for range records {
		packet = binary.BigEndian.AppendUint16(append(packet, 0xc0, headerSize), kind)
		packet = append(packet, 0, 1, 0, 0, 0, 60)
		packet = append(binary.BigEndian.AppendUint16(packet, uint16(len(data))), data...)
	}
	return packet
}

// What exceeds a limit ends the question at once. The wrong replies come from the server, not from somebody who does not know the
// question.
func TestLimits(t *testing.T) {
	host := []byte{192, 0, 2, 1}
	for name, test := range map[string]struct {
		answer func(query []byte, answer func([]byte))
		want   string
	}{
		"as many records": {func(q []byte, answer func([]byte)) {
			answer(reply(q, uint16(recordsLimit.Most), dns.TypeA, int(recordsLimit.Most), host))
		}, ""},
		"many records": {func(q []byte, answer func([]byte)) {
			answer(reply(q, uint16(recordsLimit.Most)+1, dns.TypeA, int(recordsLimit.Most)+1, host))
		},
			"an answer has 1001 records, the limit is 1000"},
		"many records, it says": {func(q []byte, answer func([]byte)) { answer(reply(q, 65535, dns.TypeA, 1, host)) }, "an answer has 65535 records, the limit is 1000"},
		"a large HIP record": {func(q []byte, answer func([]byte)) {
			answer(reply(q, 2, dns.TypeHIP, 2, make([]byte, hipLimit.Most+1)))
		},
			"a HIP record has 4097 bytes, the limit is 4096"},
		"wrong replies": {func(q []byte, answer func([]byte)) {
			wrong := reply(q, 0, 0, 0, nil)
			wrong[headerSize+1]++ // another name
			for range wrongLimit.Most + 1 {
				answer(wrong)
			}
		}, "what a server sends over UDP for one question has more than 100 wrong replies, the limit; the first one: the reply answers another question: fxample.org. A"},
		"forged replies": {func(q []byte, answer func([]byte)) {
			forged := reply(q, 0, 0, 0, nil)
			forged[0]++                     // another id
			for range 2 * wrongLimit.Most { // the kernel keeps no more than about 250 of them
				answer(forged)
			}
			answer(reply(q, 1, dns.TypeA, 1, host))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			go func() {
				query := make([]byte, 1000)
				n, from, err := server.ReadFrom(query)
				if err != nil {
					return
				}
				test.answer(query[:n], func(packet []byte) { _, _ = server.WriteTo(packet, from) })
			}()
			begin := time.Now()
			answer, err := (&Client{Resolver: server.LocalAddr().String(), Limit: 5 * time.Second}).Ask(t.Context(), Question{Name: "example.org", Type: dns.TypeA})
			e := (*Error)(nil)
			switch {
			case test.want == "" && (err != nil || len(answer.Records) == 0):
				t.Error(answer, err)
			case test.want != "" && (!errors.As(err, &e) || e.Kind != TooLarge || e.Detail != test.want || !errors.As(err, new(*limit.Error))):
				t.Error(err)
			}
			if took := time.Since(begin); took > 3*time.Second {
				t.Error(took)
			}
		})
	}
}

// A chain of aliases is followed in linear time, in any order and to the end of a loop: 4,600 records took a second, several times
// for one answer.
func TestLongAlias(t *testing.T) {
	a := &Answer{Question: Question{Name: "n0.example.org", Type: dns.TypeA}}
	const n = 4600
	for i := range n {
		a.Records = append(a.Records, &dns.CNAME{Hdr: dns.RR_Header{Name: fmt.Sprintf("n%d.Example.org.", n-1-i), Rrtype: dns.TypeCNAME, Class: dns.ClassINET}, Target: fmt.Sprintf("N%d.example.org.", n-i)})
	}
	begin := time.Now()
	for range 10 {
		if got := a.alias(); got != fmt.Sprintf("N%d.example.org.", n) {
			t.Fatal(got)
		}
	}
	a.Records = append(a.Records, &dns.CNAME{Hdr: dns.RR_Header{Name: fmt.Sprintf("n%d.example.org.", n), Rrtype: dns.TypeCNAME, Class: dns.ClassINET}, Target: "n0.example.org."})
	_ = a.Found() // a loop ends
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Error(took)
	}
}

// A body without end over HTTPS is cut off.
func TestBodyLimit(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/dns-message")
		for err := error(nil); err == nil; {
			_, err = w.Write(make([]byte, 8<<10))
		}
	}))
	defer server.Close()
	c := &Client{Limit: 5 * time.Second, Roots: func() (*x509.CertPool, error) {
		pool := x509.NewCertPool()
		pool.AddCert(server.Certificate())
		return pool, nil
	}}
	_, err := c.Ask(t.Context(), Question{Name: "example.org", Type: dns.TypeA, Server: server.URL, Transport: HTTPS})
	if e := (*Error)(nil); !errors.As(err, &e) || e.Kind != TooLarge || e.Detail != bodyLimit.Exceeded().Error() {
		t.Error(err)
	}
}
