package steps

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // CRAM-MD5 is what some servers have
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/xdg-go/scram"
)

// saslClient is the client's part of one login (RFC 4422).
type saslClient struct {
	initial []byte                                 // the initial response; nil when the server speaks first
	next    func(challenge []byte) ([]byte, error) // answers a challenge
	finish  func() error                           // says whether a success can be believed; nil when it always can
	refusal func() string                          // what the server said of its refusal beside its code; nil when nothing
}

// saslMechanisms are those that there are, by name. server is the "host:port" that is logged in to.
var saslMechanisms = map[string]func(username string, password Secret, server string) (*saslClient, error){
	"PLAIN":         saslPlain,
	"LOGIN":         saslLogin,
	"CRAM-MD5":      saslCRAMMD5,
	"SCRAM-SHA-1":   func(u string, p Secret, _ string) (*saslClient, error) { return saslSCRAM(scram.SHA1, u, p) },
	"SCRAM-SHA-256": func(u string, p Secret, _ string) (*saslClient, error) { return saslSCRAM(scram.SHA256, u, p) },
	"XOAUTH2":       saslXOAUTH2,
	"OAUTHBEARER":   saslOAuthBearer,
}

// saslDefaults are those that take a password, the first to be taken first. They go out inside TLS only, so the simplest
// one that every server has is as good as another.
var saslDefaults = []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"}

// saslTokens are those that take an access token, the standard first.
var saslTokens = []string{"OAUTHBEARER", "XOAUTH2"}

const saslNames = "PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1, SCRAM-SHA-256, XOAUTH2 or OAUTHBEARER"

var errSASL = errors.New("the server's challenge cannot be answered")

func saslNoMore([]byte) ([]byte, error) {
	return nil, fmt.Errorf("%w: it asks for more than the mechanism has", errSASL)
}

// saslPlain is PLAIN (RFC 4616).
func saslPlain(username string, password Secret, _ string) (*saslClient, error) {
	if strings.Contains(username+password.Reveal(), "\x00") {
		return nil, scenarioFault("AUTH PLAIN cannot carry a name or a password with a zero byte")
	}
	return &saslClient{initial: []byte("\x00" + username + "\x00" + password.Reveal()), next: saslNoMore}, nil
}

// saslLogin is the LOGIN mechanism (draft-murchison-sasl-login-00): the server asks for the name, then for the password.
// What it calls the two is not looked at, as servers differ.
func saslLogin(username string, password Secret, _ string) (*saslClient, error) {
	answers := []string{username, password.Reveal()}
	return &saslClient{next: func([]byte) ([]byte, error) {
		if len(answers) == 0 {
			return saslNoMore(nil)
		}
		answer := answers[0]
		answers = answers[1:]
		return []byte(answer), nil
	}}, nil
}

// saslCRAMMD5 is CRAM-MD5 (RFC 2195).
func saslCRAMMD5(username string, password Secret, _ string) (*saslClient, error) {
	answered := false
	return &saslClient{next: func(challenge []byte) ([]byte, error) {
		if answered || len(challenge) == 0 {
			return nil, fmt.Errorf("%w: CRAM-MD5 has one challenge, which is not empty", errSASL)
		}
		answered = true
		digest := hmac.New(md5.New, []byte(password.Reveal()))
		digest.Write(challenge)
		return []byte(username + " " + hex.EncodeToString(digest.Sum(nil))), nil
	}}, nil
}

// scramIterations caps how much work a server can ask of us. RFC 7677 wants 4096 at least, and 600,000 is what is advised
// for new passwords; a hostile server could ask for hours.
const scramIterations = 600_000

var scramCount = regexp.MustCompile(`(?:^|,)i=(\d+)(?:,|$)`)

// saslSCRAM is SCRAM (RFC 5802, RFC 7677) without channel binding.
func saslSCRAM(hash scram.HashGeneratorFcn, username string, password Secret) (*saslClient, error) {
	client, err := hash.NewClient(username, password.Reveal(), "")
	if err != nil {
		return nil, scenarioFault("SCRAM cannot carry the name or the password: %w", err)
	}
	conversation := client.NewConversation()
	first, err := conversation.Step("")
	if err != nil {
		return nil, fmt.Errorf("begin SCRAM: %w", err)
	}
	return &saslClient{
		initial: []byte(first),
		next: func(challenge []byte) ([]byte, error) {
			if m := scramCount.FindSubmatch(challenge); m != nil {
				if n, err := strconv.Atoi(string(m[1])); err != nil || n > scramIterations {
					return nil, fmt.Errorf("%w: it wants %s iterations of SCRAM, and %d are allowed", errSASL, oneLine(string(m[1]), 20), scramIterations)
				}
			}
			answer, err := conversation.Step(string(challenge))
			if err != nil {
				return nil, fmt.Errorf("%w: SCRAM: %w", errSASL, err)
			}
			return []byte(answer), nil
		},
		finish: func() error {
			if !conversation.Valid() {
				return fmt.Errorf("%w: it accepted the login and did not prove that it knows the password (SCRAM)", errSASL)
			}
			return nil
		},
	}, nil
}

// saslXOAUTH2 is XOAUTH2 as Google and Microsoft have it. The password is the access token.
func saslXOAUTH2(username string, token Secret, _ string) (*saslClient, error) {
	return saslToken(username, token, "user="+username+"\x01auth=Bearer "+token.Reveal()+"\x01\x01", "")
}

// saslOAuthBearer is OAUTHBEARER (RFC 7628). The password is the access token.
func saslOAuthBearer(username string, token Secret, server string) (*saslClient, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return nil, scenarioFault("%q is no host and port: %w", server, err)
	}
	name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(username)
	return saslToken(username, token, "n,a="+name+",\x01host="+host+"\x01port="+port+"\x01auth=Bearer "+token.Reveal()+"\x01\x01", "\x01")
}

// saslToken sends an access token. A refusal comes as a challenge that says why, and is answered before it is final.
func saslToken(username string, token Secret, initial, onRefusal string) (*saslClient, error) {
	if strings.ContainsAny(username+token.Reveal(), "\x00\x01\r\n") {
		return nil, scenarioFault("the name or the access token holds a control character")
	}
	why := ""
	return &saslClient{
		initial: []byte(initial),
		next: func(challenge []byte) ([]byte, error) {
			why = oneLine(string(challenge), 300)
			return []byte(onRefusal), nil
		},
		refusal: func() string { return why },
	}, nil
}

// doubt asks what an operator asks first when a login is refused.
func (a *Account) doubt(token bool) string {
	if token {
		return fmt.Sprintf("is the access token of account %q still valid?", a.Name)
	}
	return fmt.Sprintf("is the password of account %q still right?", a.Name)
}

// tokenEnded says when an access token ended that tells so itself, as a JWT does (RFC 7519 section 4.1.4). Servers seldom
// say that this is why they refuse it.
func tokenEnded(token Secret) string {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return ""
	}
	var claims struct {
		End float64 `json:"exp"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.End <= 0 || claims.End > float64(time.Now().Unix()) {
		return ""
	}
	return " It ended at " + time.Unix(int64(claims.End), 0).UTC().Format("2006-01-02 15:04:05 MST")
}
