package totp_test

import (
	"encoding/base32"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/totp"
)

// TestCode uses the vectors of RFC 6238, appendix B.
func TestCode(t *testing.T) {
	const digits = "12345678901234567890"
	keys := map[string]string{"SHA1": digits, "SHA256": digits + "123456789012", "SHA512": strings.Repeat(digits, 3) + "1234"}
	for _, c := range []struct {
		at        int64
		algorithm string
		want      string
	}{
		{59, "SHA1", "94287082"}, {59, "SHA256", "46119246"}, {59, "SHA512", "90693936"},
		{1111111109, "SHA1", "07081804"}, {1111111109, "SHA256", "68084774"}, {1111111109, "SHA512", "25091201"},
		{1111111111, "SHA1", "14050471"}, {1111111111, "SHA256", "67062674"}, {1111111111, "SHA512", "99943326"},
		{1234567890, "SHA1", "89005924"}, {1234567890, "SHA256", "91819424"}, {1234567890, "SHA512", "93441116"},
		{2000000000, "SHA1", "69279037"}, {2000000000, "SHA256", "90698825"}, {2000000000, "SHA512", "38618901"},
		{20000000000, "SHA1", "65353130"}, {20000000000, "SHA256", "77737706"}, {20000000000, "SHA512", "47863826"},
	} {
		secret := base32.StdEncoding.EncodeToString([]byte(keys[c.algorithm]))
		k, err := totp.Parse(fmt.Sprintf("otpauth://totp/Example:alice?secret=%s&algorithm=%s&digits=8", secret, c.algorithm))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := k.Code(time.Unix(c.at, 0)); got != c.want {
			t.Errorf("%d by %s: got %s, want %s", c.at, c.algorithm, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		" gezd gnbv-gy3t qojq GEZDGNBVGY3TQOJQ ":                             "287082",
		"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ====":                               "287082",
		"otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&period=60": "755224", // the counter is 0: RFC 4226, appendix D
		"open 18 sesame": "its key is not base32 (letters and the digits 2 to 7)",
		"GEZDGNBV":       "its key has 40 bits, wanted at least 80",
		"otpauth://hotp/x?secret=GEZDGNBVGY3TQOJQ":               "it is not an otpauth://totp/ address",
		"otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&algorithm=MD5": "its algorithm is not SHA1, SHA256 or SHA512",
		"otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&digits=99":     "its digits are not 6, 7 or 8",
		"otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&period=never":  "its period is not a number of seconds up to 3600",
	} {
		k, err := totp.Parse(text)
		var got string
		if err != nil {
			got = err.Error()
		} else {
			got, _ = k.Code(time.Unix(59, 0))
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestCodeEnds(t *testing.T) {
	k, err := totp.Parse("GEZDGNBVGY3TQOJQ")
	if err != nil {
		t.Fatal(err)
	}
	if _, left := k.Code(time.Unix(59, 250e6)); left != 750*time.Millisecond {
		t.Errorf("the code lasts %s, want 750ms", left)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&period=60&digits=8&algorithm=SHA512")
	f.Fuzz(func(_ *testing.T, text string) {
		if k, err := totp.Parse(text); err == nil {
			k.Code(time.Now())
		}
	})
}
