"""Words that describe no picture, for the control in which class names are exchanged for random words."""

_WORDS = """
able about above accept account across action actual add admit advance advice affair after again agenda agree aim allow
almost alone already also alter always amount answer appeal apply approve argue around arrange aspect assume attempt
average avoid aware balance basic become before begin behalf belief belong beside better between beyond bind blame brief
broad budget busy calm cancel capable careful cause certain chance change charge choice claim clause clever comment common
compare complete concern confirm consent consider constant contain content context contrast control convince correct cost
could count course credit crisis custom daily deal debate decide declare degree delay demand deny depend derive desire
detail develop differ direct doubt draft during duty early earn easy edit effect effort eight either else emerge employ
enable engage enough ensure entire equal error escape essay ethic even event every exact example except exchange excuse
exist expect expert explain extent extra fact factor fail fair faith false fame famous favour fiction final finish first
five fixed focus follow forget formal former forty forward frequent fresh future gain gather general genuine given global
grant grateful great growth guess habit happen hardly hence hint honest honour hope idea ideal identify ignore imagine
impact imply improve include income indeed inform inner inquiry insist instance instead intend interest involve issue join
joke judge just justify keep kind knowledge lack late later lead learn least legal length less lesson level liable likely
limit linger logic loss lucky mainly manage manner matter maybe mean measure meet memory mental merely merit method middle
might minor mistake modern moment month moral most motive mutual narrow nearly need neither never next nine nobody normal
notice notion number obey oblige obvious occur offer often once only opinion option order other ought outcome over owe
pace partly pass past patience pause perfect period permit phase phrase plain plan plenty point policy polite portion
possible praise precise prefer prepare present prevent principle prior process profit promise proof proper prove public
purpose quality quarter query question quick quiet quite quote random range rapid rare rather reach ready real reason
recall recent reduce refer regard regret reject relate rely remain remark remind repeat reply report request rescue
resolve respect result retain reveal review risk routine rule rumour safe sake same scale scarce scope search second
secret seem select sense series serious settle seven several shall share short should similar simple since single skill
slight slow social solve some soon sort source speak special speed spend spite stable start status stay steady still
strict style subject succeed such sudden suggest supply support suppose sure surprise task teach tend term test thank
theme theory thing think third though thought through thus time today together tomorrow topic total toward tradition trend
trial trouble true trust truth twelve twice type typical unable under unique unite unless until update upon urge usage
useful usual vague valid value various verdict version very view vital wait wander warn weak week weigh whether while
whole wide will wise wish within without wonder word work worry worth would wrong year yearly yesterday yield zeal
"""

WORDS: tuple[str, ...] = tuple(_WORDS.split())
"""Short words of relation, thought and time."""
