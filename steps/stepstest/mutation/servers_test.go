package mutation_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/mutation"
)

// serveMailbox serves a mailbox whose messages are altered, and nothing else.
func serveMailbox(d *dialogue, conn net.Conn) error {
	_, err := mailboxScript().Serve(conn, d, nil)
	return err
}

var mailboxScript = sync.OnceValue(func() *mutation.Script { return read("imap.txt") })

func page(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Demo</title></head>\n<body>"+body+"</body></html>\n")
}

var zipped = func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, "<!DOCTYPE html><html><body><p>"+strings.Repeat("This page is squeezed. ", 50)+"</p></body></html>")
	_ = w.Close()
	return b.Bytes()
}()

// site is a website with pages of the usual kinds.
func site(*dialogue) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", "session=abc; Path=/; Secure; HttpOnly; Max-Age=3600")
		page(w, "<h1>Welcome</h1>\n<nav><a href=\"/chunked\">Contact</a> <a href='table'>Prices</a></nav>\n<img src=/logo.png alt=Logo>")
	})
	mux.HandleFunc("GET /old", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://"+r.Host+"/chunked")
		w.WriteHeader(http.StatusMovedPermanently)
	})
	mux.HandleFunc("GET /chunked", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		for _, part := range []string{"<!DOCTYPE html><html><body><p>in parts", " and parts", " to the end</p></body></html>"} {
			_, _ = io.WriteString(w, part)
			_ = http.NewResponseController(w).Flush()
		}
	})
	mux.HandleFunc("GET /order", func(w http.ResponseWriter, _ *http.Request) {
		page(w, "<form method=post action=/order enctype=\"multipart/form-data\"><label>Name <input name=n maxlength=20></label>\n<label>Number <select name=k><option>one<option value=2>two</select></label>\n"+
			"<input type=hidden name=token value=x1><textarea name=t>some\ntext</textarea><button>Order</button></form>")
	})
	mux.HandleFunc("POST /order", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
		http.Redirect(w, r, "/ordered", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /ordered", func(w http.ResponseWriter, _ *http.Request) { page(w, "<p>Ordered. Thank you!</p>") })
	mux.HandleFunc("/file.pdf", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/pdf")
		w.Header().Set("Content-Disposition", "attachment; filename=\"file.pdf\"; filename*=UTF-8''file.pdf")
		_, _ = w.Write(append([]byte("%PDF-1.7\n"), bytes.Repeat([]byte("0123456789abcde\n"), 200)...))
	})
	mux.HandleFunc("GET /zipped", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(zipped)
	})
	mux.HandleFunc("GET /data", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"queue": {"length": 12, "oldest": 3.5e2}, "list": [1, "two", {"three": null}], "ok": true}`)
	})
	mux.HandleFunc("GET /feed", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/rss+xml")
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel><title>News</title><link>http://demo.test/</link><item><title>One</title><pubDate>Mon, 30 Nov 2026 10:52:28 GMT</pubDate></item></channel></rss>`)
	})
	mux.HandleFunc("GET /sitemap.xml", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>https://`+r.Host+`/</loc></url><url><loc>https://`+r.Host+`/table</loc></url></urlset>`)
	})
	mux.HandleFunc("/table", func(w http.ResponseWriter, _ *http.Request) {
		page(w, "<table><caption>Prices</caption><tr><th colspan=1>Thing<th rowspan=1>Price</tr><tr><td>Bread<td>3</tr><tr><td>Beer<td>5</tr></table>")
	})
	mux.HandleFunc("/logo.png", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		_, _ = io.WriteString(w, "\x89PNG\r\n\x1a\n")
	})
	return mux
}

// http2 serves the website over HTTP/2.
func (s *servers) http2(part string) func(*dialogue, net.Conn) error {
	config := s.tls.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	return func(d *dialogue, conn net.Conn) error {
		secure := tls.Server(conn, config)
		if err := handshakeIn(secure); err != nil {
			return nil //nolint:nilerr // it was altered
		}
		if secure.ConnectionState().NegotiatedProtocol != "h2" {
			return web(site)(d, d.layer(part, secure))
		}
		// What is altered is above TLS, so the server does not see TLS.
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		serveOne(d.layer(part, secure), &http.Server{Handler: site(d), ErrorLog: quiet, ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout: 10 * time.Second, Protocols: protocols})
		return nil
	}
}

func handshakeIn(conn *tls.Conn) error {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	err := conn.Handshake()
	_ = conn.SetDeadline(time.Time{})
	return err
}

func handshake(s *servers, conn net.Conn) error {
	_ = handshakeIn(tls.Server(conn, s.tls)) // it may be altered
	return nil
}

// services are an exporter and the API of a host.
func services(*dialogue) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, "# HELP mta_queue_length Messages in the queue.\n# TYPE mta_queue_length gauge\nmta_queue_length{queue=\"active\"} 2\nmta_queue_length{queue=\"deferred\"} 40\n"+
			"# TYPE mta_delay_seconds histogram\nmta_delay_seconds_bucket{le=\"0.1\"} 5\nmta_delay_seconds_bucket{le=\"+Inf\"} 7\nmta_delay_seconds_sum 3.5\nmta_delay_seconds_count 7\n# TYPE x summary\nx{quantile=\"0.5\"} NaN\nx_sum 1e9\nx_count 3\n")
	})
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status": "ok", "deferred": 40, "workers": [{"free": 1}, {"free": 2}]}`)
	})
	mux.HandleFunc("GET /api/queue/stats", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"active": 2, "deferred": 40, "hold": 1, "total": 43, "bytes": 183204, "oldest_age_seconds": 7260, "destinations": {"gmail.com": 38, "example.net": 2}}`)
	})
	return mux
}

// policy is a website with a policy of MTA-STS (RFC 8461).
func policy(*dialogue) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "version: STSv1\r\nmode: enforce\r\nmx: mail.demo.test\r\nmax_age: 604800\r\n")
	})
}

var zone = func() map[string][]dns.RR {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	all := make(map[string][]dns.RR)
	for _, line := range []string{
		"demo.test. 60 IN SOA ns.demo.test. admin.demo.test. 1 60 60 60 60", "demo.test. 60 IN NS ns.demo.test.", "demo.test. 60 IN MX 10 mail.demo.test.",
		"demo.test. 60 IN TXT \"v=spf1 ip4:192.0.2.0/28 mx include:spf.demo.test -all\"", "spf.demo.test. 60 IN TXT \"v=spf1 a:www.demo.test ip6:2001:db8::/32 -all\"",
		"_dmarc.demo.test. 60 IN TXT \"v=DMARC1; p=reject; rua=mailto:d@demo.test\"",
		"mail._domainkey.demo.test. 60 IN TXT \"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(key) + "\"",
		"_smtp._tls.demo.test. 60 IN TXT \"v=TLSRPTv1; rua=mailto:t@demo.test\"", "_mta-sts.demo.test. 60 IN TXT \"v=STSv1; id=20261130\"",
		"www.demo.test. 60 IN A 192.0.2.7", "www.demo.test. 60 IN AAAA 2001:db8::7", "mail.demo.test. 60 IN A 192.0.2.8", "ns.demo.test. 60 IN A 127.0.0.1",
		"mta-sts.demo.test. 60 IN A 192.0.2.9",
	} {
		rr, err := dns.NewRR(line)
		if err != nil {
			panic(err)
		}
		at := strings.ToLower(rr.Header().Name) + dns.TypeToString[rr.Header().Rrtype]
		all[at] = append(all[at], rr)
	}
	return all
}()

// answer answers a query with the zone's records.
func answer(query []byte) []byte {
	asked := new(dns.Msg)
	if asked.Unpack(query) != nil || len(asked.Question) != 1 {
		return nil
	}
	reply := new(dns.Msg).SetReply(asked)
	reply.Authoritative, reply.Compress = true, true
	name := strings.ToLower(asked.Question[0].Name)
	reply.Answer = zone[name+dns.TypeToString[asked.Question[0].Qtype]]
	if len(reply.Answer) == 0 {
		reply.Ns = zone["demo.test.SOA"]
		reply.Rcode = dns.RcodeNameError
		for at := range zone {
			if strings.HasPrefix(at, name) || strings.Contains(at, "."+name) {
				reply.Rcode = dns.RcodeSuccess
			}
		}
	}
	if option := asked.IsEdns0(); option != nil {
		reply.SetEdns0(1232, option.Do())
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// samePort listens on a port that is free for both UDP and TCP.
func samePort() (net.PacketConn, net.Listener) {
	for range 100 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		if listener, err := net.Listen("tcp", packets.LocalAddr().String()); err == nil {
			return packets, listener
		}
		_ = packets.Close() // somebody has that port over TCP
	}
	panic("no port is free for both UDP and TCP")
}

// serveNames serves the zone over UDP, TCP, TLS and HTTPS. Over UDP it is the resolver of all parts, and behaves for the others.
func serveNames(s *servers, part string) {
	packets, listener := samePort()
	s.addresses["ns.demo.test:53"] = packets.LocalAddr().String()
	stream := func(_ *dialogue, conn net.Conn) error {
		for {
			var size [2]byte
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				return nil //nolint:nilerr // the client left
			}
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(conn, query); err != nil {
				return nil //nolint:nilerr // as above
			}
			reply := answer(query)
			if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil { //nolint:gosec // the zone is small
				return err
			}
		}
	}
	s.accept(listener, part, clear(part, stream))
	s.listen("ns.demo.test:853", part, s.secured(part, stream))
	s.listen("ns.demo.test:443", part, s.secured(part, web(func(*dialogue) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			query, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16))
			if text := r.URL.Query().Get("dns"); text != "" {
				query, _ = base64.RawURLEncoding.DecodeString(text)
			}
			w.Header().Set("Content-Type", "application/dns-message")
			_, _ = w.Write(answer(query))
		})
	})))
	s.closing = append(s.closing, func() { _ = packets.Close() })
	s.work.Go(func() {
		for query := make([]byte, 1<<16); ; {
			n, from, err := packets.ReadFrom(query)
			if err != nil {
				return
			}
			reply := answer(query[:n])
			if d := s.current.Load(); d != nil && d.part == part {
				reply = d.Alter(reply)
			}
			_, _ = packets.WriteTo(reply[:min(len(reply), 60_000)], from)
		}
	})
}

// serveStartTLS serves the beginnings of protocols in which TLS begins.
func serveStartTLS(s *servers, part string) {
	upgraded := func(begin func(conn net.Conn) error) func(*dialogue, net.Conn) error {
		return func(d *dialogue, conn net.Conn) error {
			if err := begin(d.layer(part, conn)); err != nil {
				return nil //nolint:nilerr // the client left
			}
			return handshake(s, conn)
		}
	}
	await := func(conn net.Conn, end string) error {
		var got []byte
		for part := make([]byte, 512); !bytes.Contains(got, []byte(end)); {
			n, err := conn.Read(part)
			if err != nil || len(got) > 1<<16 {
				return errors.New("no end")
			}
			got = append(got, part[:n]...)
		}
		return nil
	}
	say := func(conn net.Conn, text string) error { _, err := io.WriteString(conn, text); return err }
	s.listen("start.demo.test:4190", part, s.script(part, read("sieve.txt")))
	s.listen("start.demo.test:21", part, s.script(part, read("ftp.txt")))
	s.listen("start.demo.test:389", part, upgraded(func(conn net.Conn) error {
		return errors.Join(await(conn, "1.3.6.1.4.1.1466.20037"), say(conn, "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"))
	}))
	s.listen("start.demo.test:5222", part, upgraded(func(conn net.Conn) error {
		return errors.Join(await(conn, ">"), say(conn, "<?xml version='1.0'?><stream:stream id='1' from='start.demo.test' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"+
			"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"),
			await(conn, "starttls"), say(conn, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"))
	}))
	s.listen("start.demo.test:5432", part, upgraded(func(conn net.Conn) error { return errors.Join(await(conn, "\x04\xd2\x16\x2f"), say(conn, "S")) }))
	s.listen("start.demo.test:3306", part, upgraded(func(conn net.Conn) error {
		if err := say(conn, string(packet(0, mysqlGreeting(0x800)))); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 36))
		return err
	}))
}

// relay passes a connection on to another server on this machine.
func relay(part, address string) func(*dialogue, net.Conn) error {
	return clear(part, func(_ *dialogue, conn net.Conn) error {
		server, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		defer func() { mutation.Reset(server) }()
		over := make(chan struct{})
		go func() {
			defer close(over)
			_, _ = io.Copy(server, conn) // until the client leaves
			mutation.Reset(server)
		}()
		for b := make([]byte, 16<<10); ; {
			n, err := server.Read(b)
			if err == nil {
				_, err = conn.Write(b[:n])
			}
			if err != nil {
				_ = conn.Close()
				<-over
				return nil
			}
		}
	})
}

func serveAMQP(s *servers, part string) {
	server := must(stepstest.NewAMQPServer(map[string]stepstest.AMQPQueue{"outgoing": {Messages: 12, Consumers: 2}}, nil))
	s.closing = append(s.closing, func() { _ = server.Close() })
	s.listen("broker.demo.test:5672", part, relay(part, server.Address))
}

func serveSSH(s *servers, part string) {
	server := must(stepstest.NewSSHServer("monitor", "open sesame", func(command string, stdout, stderr io.Writer) (uint32, string) {
		text := " 10:52:28 up 3 days, 2:01, 1 user, load average: 0.10, 0.20, 0.30\n"
		if strings.Contains(command, "check_") {
			text = "DISK OK - 88% free|/=12%;80;90\n"
		}
		if d := s.current.Load(); d != nil && d.part == part && d.Seed%2 == 0 {
			text = string(d.Alter([]byte(text)))
		}
		_, _ = io.WriteString(stdout, text)
		return 0, ""
	}))
	s.closing = append(s.closing, func() { _ = server.Close() })
	serve := relay(part, server.Address)
	s.listen("shell.demo.test:22", part, serve)
	host, port, _ := net.SplitHostPort(server.Address)
	keys := strings.Replace(server.KnownHosts, "["+host+"]:"+port, "shell.demo.test", 1)
	if err := os.WriteFile(filepath.Join(s.dir, knownHosts), []byte(keys), 0o600); err != nil {
		panic(err)
	}
}

// pg returns a message of PostgreSQL's protocol 3.0.
func pg(kind byte, body string) string {
	return string(append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body))), body...)) //nolint:gosec // it is short
}

// postgres answers a query with 4.
func postgres(_ *dialogue, conn net.Conn) error {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(size[:])&0xffff)-4); err != nil {
		return err
	}
	say := func(texts ...string) error { _, err := io.WriteString(conn, strings.Join(texts, "")); return err }
	if err := say(pg('R', "\x00\x00\x00\x03")); err != nil {
		return err
	}
	transaction := "I"
	for {
		var head [5]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[1:])&0xfffff)-4); err != nil {
			return err
		}
		var err error
		switch head[0] {
		case 'p':
			err = say(pg('R', "\x00\x00\x00\x00"), pg('S', "server_version\x0015.18 (Debian 15.18-0+deb12u1)\x00"), pg('S', "client_encoding\x00UTF8\x00"),
				pg('S', "standard_conforming_strings\x00on\x00"), pg('K', "\x00\x00\x04\xd2\x12\x34\x56\x78"), pg('Z', "I"))
		case 'Q':
			transaction = "T"
			err = say(pg('C', "BEGIN\x00"), pg('C', "SET\x00"), pg('C', "SET\x00"), pg('C', "SET\x00"), pg('Z', transaction))
		case 'S':
			err = say(pg('1', ""), pg('2', ""), pg('T', "\x00\x01count\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x14\x00\x08\xff\xff\xff\xff\x00\x00"),
				pg('D', "\x00\x01\x00\x00\x00\x014"), pg('C', "SELECT 1\x00"), pg('Z', transaction))
		case 'X':
			return conn.Close()
		}
		if err != nil {
			return err
		}
	}
}

// packet returns a packet of MySQL's protocol.
func packet(sequence byte, body string) []byte {
	return append([]byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), sequence}, body...) //nolint:gosec // it is short
}

func mysqlGreeting(more uint32) string {
	can := 0x0008a20f | more
	return "\x0a10.11.14-MariaDB-0+deb12u2\x00\x05\x00\x00\x00abcdefgh\x00" + string([]byte{byte(can), byte(can >> 8), 0x2d, 2, 0, byte(can >> 16), byte(can >> 24), 21}) +
		strings.Repeat("\x00", 10) + "ijklmnopqrst\x00mysql_native_password\x00"
}

// mysql answers a query with 4.
func mysql(_ *dialogue, conn net.Conn) error {
	if _, err := conn.Write(packet(0, mysqlGreeting(0))); err != nil {
		return err
	}
	const ok = "\x00\x00\x00\x02\x00\x00\x00"
	type column struct{ kind, name, value string }
	const text, number = "\xfd", "\x08" // the types VARCHAR and BIGINT
	table := func(columns ...column) []byte {
		counted := func(s string) string { return string(rune(len(s))) + s }
		const end = "\xfe\x00\x00\x02\x00"
		bodies, row := []string{string(rune(len(columns)))}, ""
		for _, c := range columns {
			bodies = append(bodies, counted("def")+counted("")+counted("")+counted("")+counted(c.name)+counted("")+"\x0c\x2d\x00\x15\x00\x00\x00"+c.kind+"\x00\x00\x00\x00\x00")
			row += counted(c.value)
		}
		var all []byte
		for i, body := range append(bodies, end, row, end) {
			all = append(all, packet(byte(i+1), body)...) //nolint:gosec // there are few
		}
		return all
	}
	for first := true; ; first = false {
		var head [4]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return err
		}
		body := make([]byte, int(head[0])|int(head[1])<<8|int(head[2]&3)<<16)
		if _, err := io.ReadFull(conn, body); err != nil {
			return err
		}
		reply := packet(head[3]+1, ok)
		switch {
		case first || len(body) == 0:
		case body[0] == 1:
			return conn.Close()
		case body[0] == 3 && strings.Contains(string(body), "VERSION"):
			reply = table(column{text, "VERSION()", "10.11.14-MariaDB-0+deb12u2"}, column{number, "CONNECTION_ID()", "5"})
		case body[0] == 3 && strings.HasPrefix(string(body[1:]), "SELECT"):
			reply = table(column{number, "count(*)", "4"})
		}
		if _, err := conn.Write(reply); err != nil {
			return err
		}
	}
}
