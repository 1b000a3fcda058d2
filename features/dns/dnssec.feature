# Would a resolver that validates still believe our zone? When its signatures end, half of the world no longer finds the
# domain, from one minute to the next. A signer that has stopped is seen here days before.
#
# Needs in stepwatch.yml: nothing for a zone that is signed up to the root. For a zone of your own, its keys under
# dnssec.anchors.
@every:1h
Feature: DNSSEC

  # The name server signs anew some days before the end. Take less than that, and enough for a weekend.
  Scenario: The signatures are right, and last
    When I look up the MX of "example.org"
    Then the answer is signed
    And its signature is valid for 3 days

  # What is not there must be proven too, or a forger could make records disappear.
  Scenario: What does not exist is proven not to
    When I look up the TLSA of "stepwatch.mail.example.org"
    Then the name does not exist
    And the answer is signed
