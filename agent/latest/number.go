package latest

import (
	"fmt"
	"math"
	"strconv"
)

// Number is a number in JSON, or one of the strings "NaN", "+Inf" and "-Inf", which JSON does not have (RFC 8259, section 6).
type Number float64

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.AppendQuote(nil, strconv.FormatFloat(f, 'g', -1, 64)), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'g', -1, 64), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *Number) UnmarshalJSON(text []byte) error {
	number := string(text)
	if unquoted, err := strconv.Unquote(number); err == nil {
		number = unquoted
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return fmt.Errorf("read a value: want a number, got %s", text)
	}
	*n = Number(f)
	return nil
}
