package wording

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Syntax says where and why a document is not JSON (RFC 8259) or XML: it words an error of encoding/json or encoding/xml. Any
// other error keeps its text.
func Syntax(document []byte, err error) string {
	var inJSON *json.SyntaxError
	var inXML *xml.SyntaxError
	var typed *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return "it is empty"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	case strings.HasPrefix(err.Error(), "xml: opening charset "):
		name, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "xml: opening charset "), ": ")
		return "its encoding " + OneLine(name, 60) + " is not known"
	case strings.HasPrefix(err.Error(), "xml: encoding "): // without a CharsetReader
		name, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "xml: encoding "), " declared")
		return "its encoding " + OneLine(name, 60) + " is not known"
	case strings.HasPrefix(err.Error(), "xml: "):
		return OneLine(strings.TrimPrefix(err.Error(), "xml: "), 100)
	case errors.As(err, &inXML) && inXML.Msg == "unexpected EOF":
		return fmt.Sprintf("it ends too early, in line %d", inXML.Line)
	case errors.As(err, &inXML) && inXML.Msg == "unexpected EOF in CDATA section":
		return fmt.Sprintf("it ends too early, in line %d, in a CDATA section", inXML.Line)
	case errors.As(err, &inXML):
		return fmt.Sprintf("line %d: %s", inXML.Line, OneLine(inXML.Msg, 100))
	case errors.As(err, &inJSON) && inJSON.Offset >= int64(len(document)) && strings.HasPrefix(err.Error(), "unexpected end"):
		return "it ends too early"
	case errors.As(err, &inJSON):
		at := int(min(max(inJSON.Offset-1, 0), int64(len(document)))) // the offset is that after the character
		line := 1 + bytes.Count(document[:at], []byte("\n"))
		column := at - bytes.LastIndexByte(document[:at], '\n')
		return fmt.Sprintf("line %d, column %d breaks its syntax: %.20q", line, column, document[at:])
	case errors.As(err, &typed) && typed.Field != "":
		return fmt.Sprintf("its member %s is %s", Quote(typed.Field), withArticle(typed.Value))
	case errors.As(err, &typed):
		return "it is " + withArticle(typed.Value)
	}
	return err.Error()
}

// withArticle writes a type of JSON, such as "array" or "number -1".
func withArticle(kind string) string {
	if kind != "" && strings.ContainsRune("aeiou", rune(kind[0])) {
		return "an " + kind
	}
	return "a " + kind
}
