package dnsclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
)

const (
	udpSize    = 1232        // passes every network without fragmentation (RFC 9715)
	resendWait = time.Second // until a question over UDP is repeated; doubled each time
)

// askServer queries one server, at its addresses in order until one answers.
func (c *Client) askServer(ctx context.Context, q Question, query *dns.Msg, server endpoint) (*Answer, error) {
	fail := func(err error) error { return failure(ctx, q, server.String(), err) }
	host, port := server.host, server.port
	if other, found := c.ConnectTo[net.JoinHostPort(host, port)]; found {
		var err error
		if host, port, err = net.SplitHostPort(other); err != nil {
			return nil, fail(&Error{Kind: Asked, Detail: fmt.Sprintf("%q in connect_to is not a host and port", other)})
		}
	}
	addresses, err := c.lookUp(ctx, host, q.Family)
	if err != nil {
		return nil, fail(err)
	}
	var failed []error
	for i, address := range addresses {
		attempt, cancel := share(ctx, len(addresses)-i)
		answer, err := c.askAddress(attempt, q, query, server, net.JoinHostPort(address, port))
		cancel()
		if err == nil {
			answer.Unanswered = failed
			return answer, nil
		}
		at := server.String()
		if address != server.host {
			at += " (at " + net.JoinHostPort(address, port) + ")"
		}
		failed = append(failed, failure(attempt, q, at, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed[0]
}

// failure converts err to an *Error with the question and the server.
func failure(ctx context.Context, q Question, server string, err error) *Error {
	e := (*Error)(nil)
	if !errors.As(err, &e) {
		e = &Error{Kind: Network, Err: err}
		var netErr net.Error
		if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
			e.Kind, e.Detail = Timeout, "no answer in time"
		}
	}
	e.Question, e.Server = q, server
	return e
}

// lookUp returns the addresses of a server.
func (c *Client) lookUp(ctx context.Context, host string, family Family) ([]string, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if family == IPv4 && !ip.Is4() || family == IPv6 && ip.Is4() {
			return nil, &Error{Kind: Asked, Detail: fmt.Sprintf("%s is not an %s address", host, familyName(family))}
		}
		return []string{host}, nil
	}
	network := string(family)
	if family == AnyFamily {
		network = "ip"
	}
	resolver := net.DefaultResolver
	if c.Resolver != "" {
		resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, c.Resolver)
		}}
	}
	start := time.Now()
	ips, err := resolver.LookupNetIP(ctx, network, host)
	c.traced("dns", start)
	if err != nil {
		missing := (*net.DNSError)(nil)
		if errors.As(err, &missing) && missing.IsNotFound && family != AnyFamily {
			missing.Err = "it has no " + familyName(family) + " address"
		}
		return nil, err
	}
	addresses := make([]string, len(ips))
	for i, ip := range ips {
		addresses[i] = ip.Unmap().String()
	}
	return addresses, nil
}

func familyName(f Family) string { return "IPv" + strings.TrimPrefix(string(f), "ip") }

func (c *Client) traced(phase string, start time.Time) {
	if c.Trace != nil {
		c.Trace(phase, time.Since(start))
	}
}

// askAddress queries one address over the transport of the question.
func (c *Client) askAddress(ctx context.Context, q Question, query *dns.Msg, server endpoint, address string) (*Answer, error) {
	answer := &Answer{Question: q, Server: address, Transport: q.Transport, Sent: 1}
	var (
		reply *dns.Msg
		err   error
	)
	switch q.Transport {
	case Auto, UDP:
		answer.Transport = UDP
		reply, err = c.overUDP(ctx, query, answer)
		if err == nil && reply.Truncated && q.Transport == Auto {
			spent, size := answer.Duration, answer.Size
			answer.Transport = TCP
			if reply, err = c.overStream(ctx, query, server, answer); err != nil {
				e := failure(ctx, q, "", err)
				e.Detail = fmt.Sprintf("the answer over UDP is truncated (%d bytes), and there is no answer over TCP: %s", size, e.detail())
				return nil, e
			}
			answer.Duration += spent
		}
	case TCP, TLS:
		reply, err = c.overStream(ctx, query, server, answer)
	case HTTPS:
		reply, err = c.overHTTPS(ctx, query, server, answer)
	default:
		return nil, &Error{Kind: Asked, Detail: fmt.Sprintf("%q is not a transport", q.Transport)}
	}
	if err != nil {
		return nil, err
	}
	answer.Rcode = reply.Rcode
	answer.Authoritative, answer.Authenticated = reply.Authoritative, reply.AuthenticatedData
	answer.RecursionAvailable, answer.Truncated = reply.RecursionAvailable, reply.Truncated
	answer.Records, answer.Authority = reply.Answer, reply.Ns
	for _, rr := range reply.Extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			answer.Additional = append(answer.Additional, rr)
		}
	}
	answer.Extra = extendedError(reply)
	return answer, nil
}

// extendedError describes the first extended error of a reply (RFC 8914).
func extendedError(reply *dns.Msg) string {
	opt := reply.IsEdns0()
	if opt == nil {
		return ""
	}
	for _, option := range opt.Option {
		ede, is := option.(*dns.EDNS0_EDE)
		if !is {
			continue
		}
		name, known := dns.ExtendedErrorCodeToString[ede.InfoCode]
		if !known {
			name = fmt.Sprintf("extended error %d", ede.InfoCode)
		}
		const longest = 200
		switch text := ede.ExtraText; {
		case text == "":
			return name
		case len(text) > longest:
			return fmt.Sprintf("%s: %q…", name, text[:longest])
		default:
			return fmt.Sprintf("%s: %q", name, text)
		}
	}
	return ""
}

// decode parses an answer to query. The error says what is wrong with it.
func decode(packet []byte, query *dns.Msg) (*dns.Msg, error) {
	stray := isReply(packet, query)
	if stray != nil && len(packet) > dns.MinMsgSize { // anybody can send them: they are not worth the time
		return nil, stray
	}
	if err := checkPacket(packet); err != nil && stray == nil {
		return nil, err
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(packet); err != nil {
		return nil, fmt.Errorf("the reply (%d bytes) is not a DNS message (RFC 1035 section 4)", len(packet))
	}
	asked := query.Question[0]
	switch {
	case stray != nil:
		return nil, stray
	case len(reply.Question) == 0 && reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		return reply, nil // a server that cannot parse a question need not repeat it
	case len(reply.Question) != 1:
		return nil, fmt.Errorf("the reply answers %d questions, want 1", len(reply.Question))
	}
	if got := reply.Question[0]; got.Qtype != asked.Qtype || got.Qclass != asked.Qclass || !strings.EqualFold(got.Name, asked.Name) {
		return nil, fmt.Errorf("the reply answers another question: %s %s", got.Name, TypeName(got.Qtype))
	}
	return reply, nil
}

func (c *Client) overUDP(ctx context.Context, query *dns.Msg, answer *Answer) (*dns.Msg, error) {
	packet, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("encode the question: %w", err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", answer.Server)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // the answer was read, or there is none
	line := lifeline.Bind(ctx, conn)
	defer line.Release()

	start := time.Now()
	defer c.traced("exchange", start)
	var (
		buffer = make([]byte, dns.MaxMsgSize)
		wait   = resendWait
		stray  error // the first reply that is not an answer to the question
		strays int
		wrong  int64 // of the strays, those that look like a reply
	)
	answer.Sent = 0
	for {
		if _, err := conn.Write(packet); err != nil {
			return nil, err
		}
		answer.Sent++
		again := time.Now().Add(wait)
		if err := line.SetReadDeadline(again); err != nil {
			return nil, err
		}
		for {
			n, err := conn.Read(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
				break
			}
			if ctx.Err() != nil {
				return nil, unanswered(ctx, answer.Sent, strays, stray)
			}
			if err != nil {
				return nil, err
			}
			// A forged reply may precede the right answer, so a wrong one alone decides nothing.
			reply, err := decode(buffer[:n], query)
			if errors.As(err, new(*limit.Error)) {
				return nil, undecoded(err)
			}
			if err != nil {
				strays++
				if stray == nil {
					stray = err
				}
				if isReply(buffer[:n], query) == nil { // parsed, which takes time
					wrong++
				}
				if err := wrongLimit.Check(wrong); err != nil {
					return nil, &Error{Kind: TooLarge, Err: err, Detail: fmt.Sprintf("%v; the first one: %v", wrongLimit.Exceeded(), stray)}
				}
				continue
			}
			answer.Duration, answer.Size = time.Since(start), n
			return reply, nil
		}
		wait *= 2
	}
}

// unanswered returns the error for the end of the time.
func unanswered(ctx context.Context, sent, strays int, stray error) error {
	if stray != nil {
		return &Error{Kind: Protocol, Err: ctx.Err(), Detail: fmt.Sprintf("no answer in time, sent %s over UDP; ignored replies: %d: %v", times(sent), strays, stray)}
	}
	return &Error{Kind: Timeout, Err: ctx.Err(), Detail: fmt.Sprintf("no answer in time, sent %s over UDP", times(sent))}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// dial opens a TCP connection, with TLS if the transport uses it.
func (c *Client) dial(ctx context.Context, server endpoint, answer *Answer, protocols ...string) (net.Conn, error) {
	start := time.Now()
	conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", answer.Server)
	c.traced("connect", start)
	if err != nil || answer.Transport == TCP {
		return conn, err
	}
	config := &tls.Config{ServerName: server.host, MinVersion: tls.VersionTLS12, NextProtos: protocols}
	if c.Roots != nil {
		if config.RootCAs, err = c.Roots(); err != nil {
			return nil, errors.Join(&Error{Kind: Asked, Err: err, Detail: fmt.Sprintf("read the roots under tls.ca in stepwatch.yml: %v", err)}, conn.Close())
		}
	}
	start = time.Now()
	client := tls.Client(conn, config)
	err = client.HandshakeContext(ctx)
	c.traced("tls", start)
	if err != nil {
		_ = conn.Close() // the handshake's error says what is wrong
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return client, nil
}

// overStream queries over TCP or TLS: a message after its length in two bytes (RFC 1035 section 4.2.2).
func (c *Client) overStream(ctx context.Context, query *dns.Msg, server endpoint, answer *Answer) (*dns.Msg, error) {
	packet, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("encode the question: %w", err)
	}
	conn, err := c.dial(ctx, server, answer, "dot")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // the answer was read, or there is none
	defer lifeline.Bind(ctx, conn).Release()
	start := time.Now()
	defer c.traced("exchange", start)
	length := uint16(len(packet)) //nolint:gosec // a question is a name and a few bytes
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, length), packet...)); err != nil {
		return nil, err
	}
	body, err := readMessage(conn)
	if err != nil {
		return nil, err
	}
	answer.Duration, answer.Size = time.Since(start), len(body)
	reply, err := decode(body, query)
	if err != nil {
		return nil, undecoded(err)
	}
	return reply, nil
}

func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, &Error{Kind: Protocol, Err: err, Detail: "the server closed the connection without an answer"}
		}
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint16(length[:]))
	if n, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, &Error{Kind: Protocol, Err: err, Detail: fmt.Sprintf("the server closed the connection after %d of %d bytes of its answer", n, len(body))}
		}
		return nil, err
	}
	return body, nil
}

// overHTTPS queries with POST (RFC 8484 section 4.1).
func (c *Client) overHTTPS(ctx context.Context, query *dns.Msg, server endpoint, answer *Answer) (*dns.Msg, error) {
	query = query.Copy()
	query.Id = 0 // for caches, as RFC 8484 recommends
	packet, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("encode the question: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.url, bytes.NewReader(packet))
	if err != nil {
		return nil, err
	}
	const mediaType = "application/dns-message"
	request.Header.Set("Content-Type", mediaType)
	request.Header.Set("Accept", mediaType)
	conn, err := c.dial(ctx, server, answer, "h2", "http/1.1")
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: 64 << 10,
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			if conn == nil {
				return nil, errors.New("the server closed the connection without an answer")
			}
			once := conn
			conn = nil
			return once, nil
		},
	}
	defer func() {
		transport.CloseIdleConnections()
		if conn != nil {
			_ = conn.Close()
		}
	}()
	start := time.Now()
	defer c.traced("exchange", start)
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if kind, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";"); response.StatusCode != http.StatusOK || !strings.EqualFold(strings.TrimSpace(kind), mediaType) {
		return nil, &Error{Kind: Protocol, Detail: fmt.Sprintf("the server answered HTTP %d with the media type %.80q, want 200 with %q", response.StatusCode, response.Header.Get("Content-Type"), mediaType)}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit.Most+1))
	if err != nil {
		return nil, err
	}
	answer.Duration, answer.Size = time.Since(start), len(body)
	if int64(len(body)) > bodyLimit.Most {
		return nil, undecoded(bodyLimit.Exceeded())
	}
	reply, err := decode(body, query)
	if err != nil {
		return nil, undecoded(err)
	}
	return reply, nil
}
