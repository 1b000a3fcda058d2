# Would a validating resolver still accept our zone? When its signatures expire, half of the world no longer finds the
# domain, from one minute to the next. This scenario notices a stopped signer days before.
#
# Needs in stepwatch.yml: nothing, if the zone is signed up to the root. Otherwise put the keys of your zone under
# dnssec.anchors.
@every:1h
Feature: DNSSEC

  # The name server signs again some days before the end. Choose a shorter time than that, but long enough for a
  # weekend.
  Scenario: The signatures are right, and last
    When I look up the MX of "example.org"
    Then the answer is signed
    And its signature is valid for 3 days

  # The absence of a name must be proven too, or a forger could make records disappear.
  Scenario: What does not exist is proven not to
    When I look up the TLSA of "stepwatch.mail.example.org"
    Then the name does not exist
    And the answer is signed
