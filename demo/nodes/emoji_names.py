"""Code points and names of the emoji, written by demo.emoji_model.pictures."""

NAMES = """
203C double exclamation mark
2049 exclamation question mark
20E3 combining enclosing keycap
2122 trade mark
2139 information source
2194 left right arrow
2195 up down arrow
2196 north west arrow
2197 north east arrow
2198 south east arrow
2199 south west arrow
21A9 leftwards arrow hook
21AA rightwards arrow hook
231A watch
231B hourglass
2328 keyboard
23CF eject
23E9 black right pointing double triangle
23EA black left pointing double triangle
23EB black up pointing double triangle
23EC black down pointing double triangle
23ED black right pointing double triangle vertical bar
23EE black left pointing double triangle vertical bar
23EF black right pointing triangle double vertical bar
23F0 alarm clock
23F1 stopwatch
23F2 timer clock
23F3 hourglass flowing sand
23F8 double vertical bar
23F9 black square stop
23FA black circle record
24C2 circled latin capital letter m
25AA black small square
25AB white small square
25B6 black right pointing triangle
25C0 black left pointing triangle
25FB white medium square
25FC black medium square
25FD white medium small square
25FE black medium small square
2600 black sun rays
2601 cloud
2602 umbrella
2603 snowman
2604 comet
260E black telephone
2611 ballot box check
2614 umbrella rain drops
2615 hot beverage
2618 shamrock
261D white up pointing index
2620 skull crossbones
2622 radioactive
2623 biohazard
2626 orthodox cross
262A star crescent
262E peace
262F yin yang
2638 wheel dharma
2639 white frowning face
263A white smiling face
2640 female
2642 male
2648 aries
2649 taurus
264A gemini
264B cancer
264C leo
264D virgo
264E libra
264F scorpius
2650 sagittarius
2651 capricorn
2652 aquarius
2653 pisces
265F black chess pawn
2660 black spade suit
2663 black club suit
2665 black heart suit
2666 black diamond suit
2668 hot springs
267B black universal recycling
267E permanent paper
267F wheelchair
2692 hammer pick
2693 anchor
2694 crossed swords
2695 staff aesculapius
2696 scales
2697 alembic
2699 gear
269B atom
269C fleur de lis
26A0 warning
26A1 high voltage
26A7 male stroke female
26AA medium white circle
26AB medium black circle
26B0 coffin
26B1 funeral urn
26BD soccer ball
26BE baseball
26C4 snowman without snow
26C5 sun behind cloud
26C8 thunder cloud rain
26CE ophiuchus
26CF pick
26D1 helmet white cross
26D3 chains
26D4 no entry
26E9 shinto shrine
26EA church
26F0 mountain
26F1 umbrella ground
26F2 fountain
26F3 flag hole
26F4 ferry
26F5 sailboat
26F7 skier
26F8 ice skate
26F9 person ball
26FA tent
26FD fuel pump
2702 black scissors
2705 white heavy check mark
2708 airplane
2709 envelope
270A raised fist
270B raised hand
270C victory hand
270D writing hand
270F pencil
2712 black nib
2714 heavy check mark
2716 heavy multiplication x
271D latin cross
2721 star david
2728 sparkles
2733 eight spoked asterisk
2734 eight pointed black star
2744 snowflake
2747 sparkle
274C cross mark
274E negative squared cross mark
2753 black question mark ornament
2754 white question mark ornament
2755 white exclamation mark ornament
2757 heavy exclamation mark
2763 heavy heart exclamation mark ornament
2764 heavy black heart
2795 heavy plus
2796 heavy minus
2797 heavy division
27A1 black rightwards arrow
27B0 curly loop
27BF double curly loop
2934 arrow pointing rightwards then curving upwards
2935 arrow pointing rightwards then curving downwards
2B05 leftwards black arrow
2B06 upwards black arrow
2B07 downwards black arrow
2B1B black large square
2B1C white large square
2B50 white medium star
2B55 heavy large circle
3030 wavy dash
303D part alternation mark
3297 circled ideograph congratulation
3299 circled ideograph secret
1F004 mahjong tile red dragon
1F0CF playing card black joker
1F170 negative squared latin capital letter
1F171 negative squared latin capital letter b
1F17E negative squared latin capital letter o
1F17F negative squared latin capital letter p
1F18E negative squared ab
1F191 squared cl
1F192 squared cool
1F193 squared free
1F194 squared id
1F195 squared new
1F196 squared ng
1F197 squared ok
1F198 squared sos
1F199 squared up exclamation mark
1F19A squared vs
1F201 squared katakana koko
1F202 squared katakana sa
1F21A squared cjk unified ideograph 7121
1F22F squared cjk unified ideograph 6307
1F232 squared cjk unified ideograph 7981
1F233 squared cjk unified ideograph 7a7a
1F234 squared cjk unified ideograph 5408
1F235 squared cjk unified ideograph 6e80
1F236 squared cjk unified ideograph 6709
1F237 squared cjk unified ideograph 6708
1F238 squared cjk unified ideograph 7533
1F239 squared cjk unified ideograph 5272
1F23A squared cjk unified ideograph 55b6
1F250 circled ideograph advantage
1F251 circled ideograph accept
1F300 cyclone
1F301 foggy
1F302 closed umbrella
1F303 night stars
1F304 sunrise mountains
1F305 sunrise
1F306 cityscape dusk
1F307 sunset buildings
1F308 rainbow
1F309 bridge night
1F30A water wave
1F30B volcano
1F30C milky way
1F30D earth globe europe africa
1F30E earth globe americas
1F30F earth globe asia australia
1F310 globe meridians
1F311 new moon
1F312 waxing crescent moon
1F313 first quarter moon
1F314 waxing gibbous moon
1F315 full moon
1F316 waning gibbous moon
1F317 last quarter moon
1F318 waning crescent moon
1F319 crescent moon
1F31A new moon face
1F31B first quarter moon face
1F31C last quarter moon face
1F31D full moon face
1F31E sun face
1F31F glowing star
1F320 shooting star
1F321 thermometer
1F324 white sun small cloud
1F325 white sun behind cloud
1F326 white sun behind cloud rain
1F327 cloud rain
1F328 cloud snow
1F329 cloud lightning
1F32A cloud tornado
1F32B fog
1F32C wind blowing face
1F32D hot dog
1F32E taco
1F32F burrito
1F330 chestnut
1F331 seedling
1F332 evergreen tree
1F333 deciduous tree
1F334 palm tree
1F335 cactus
1F336 hot pepper
1F337 tulip
1F338 cherry blossom
1F339 rose
1F33A hibiscus
1F33B sunflower
1F33C blossom
1F33D ear maize
1F33E ear rice
1F33F herb
1F340 four leaf clover
1F341 maple leaf
1F342 fallen leaf
1F343 leaf fluttering wind
1F344 mushroom
1F345 tomato
1F346 aubergine
1F347 grapes
1F348 melon
1F349 watermelon
1F34A tangerine
1F34B lemon
1F34C banana
1F34D pineapple
1F34E red apple
1F34F green apple
1F350 pear
1F351 peach
1F352 cherries
1F353 strawberry
1F354 hamburger
1F355 slice pizza
1F356 meat bone
1F357 poultry leg
1F358 rice cracker
1F359 rice ball
1F35A cooked rice
1F35B curry rice
1F35C steaming bowl
1F35D spaghetti
1F35E bread
1F35F french fries
1F360 roasted sweet potato
1F361 dango
1F362 oden
1F363 sushi
1F364 fried shrimp
1F365 fish cake swirl design
1F366 soft ice cream
1F367 shaved ice
1F368 ice cream
1F369 doughnut
1F36A cookie
1F36B chocolate bar
1F36C candy
1F36D lollipop
1F36E custard
1F36F honey pot
1F370 shortcake
1F371 bento box
1F372 pot food
1F373 cooking
1F374 fork knife
1F375 teacup without handle
1F376 sake bottle cup
1F377 wine glass
1F378 cocktail glass
1F379 tropical drink
1F37A beer mug
1F37B clinking beer mugs
1F37C baby bottle
1F37D fork knife plate
1F37E bottle popping cork
1F37F popcorn
1F380 ribbon
1F381 wrapped present
1F382 birthday cake
1F383 jack o lantern
1F384 christmas tree
1F385 father christmas
1F386 fireworks
1F387 firework sparkler
1F388 balloon
1F389 party popper
1F38A confetti ball
1F38B tanabata tree
1F38C crossed flags
1F38D pine decoration
1F38E japanese dolls
1F38F carp streamer
1F390 wind chime
1F391 moon viewing ceremony
1F392 school satchel
1F393 graduation cap
1F396 military medal
1F397 reminder ribbon
1F399 studio microphone
1F39A level slider
1F39B control knobs
1F39E film frames
1F39F admission tickets
1F3A0 carousel horse
1F3A1 ferris wheel
1F3A2 roller coaster
1F3A3 fishing pole fish
1F3A4 microphone
1F3A5 movie camera
1F3A6 cinema
1F3A7 headphone
1F3A8 artist palette
1F3A9 top hat
1F3AA circus tent
1F3AB ticket
1F3AC clapper board
1F3AD performing arts
1F3AE video game
1F3AF direct hit
1F3B0 slot machine
1F3B1 billiards
1F3B2 game die
1F3B3 bowling
1F3B4 flower playing cards
1F3B5 musical note
1F3B6 multiple musical notes
1F3B7 saxophone
1F3B8 guitar
1F3B9 musical keyboard
1F3BA trumpet
1F3BB violin
1F3BC musical score
1F3BD running shirt sash
1F3BE tennis racquet ball
1F3BF ski boot
1F3C0 basketball hoop
1F3C1 chequered flag
1F3C2 snowboarder
1F3C3 runner
1F3C4 surfer
1F3C5 sports medal
1F3C6 trophy
1F3C7 horse racing
1F3C8 american football
1F3C9 rugby football
1F3CA swimmer
1F3CB weight lifter
1F3CC golfer
1F3CD racing motorcycle
1F3CE racing car
1F3CF cricket bat ball
1F3D0 volleyball
1F3D1 field hockey stick ball
1F3D2 ice hockey stick puck
1F3D3 table tennis paddle ball
1F3D4 snow capped mountain
1F3D5 camping
1F3D6 beach umbrella
1F3D7 building construction
1F3D8 house buildings
1F3D9 cityscape
1F3DA derelict house building
1F3DB classical building
1F3DC desert
1F3DD desert island
1F3DE national park
1F3DF stadium
1F3E0 house building
1F3E1 house garden
1F3E2 office building
1F3E3 japanese post office
1F3E4 european post office
1F3E5 hospital
1F3E6 bank
1F3E7 automated teller machine
1F3E8 hotel
1F3E9 love hotel
1F3EA convenience store
1F3EB school
1F3EC department store
1F3ED factory
1F3EE izakaya lantern
1F3EF japanese castle
1F3F0 european castle
1F3F3 waving white flag
1F3F4 waving black flag
1F3F5 rosette
1F3F7 label
1F3F8 badminton racquet shuttlecock
1F3F9 bow arrow
1F3FA amphora
1F400 rat
1F401 mouse
1F402 ox
1F403 water buffalo
1F404 cow
1F405 tiger
1F406 leopard
1F407 rabbit
1F408 cat
1F409 dragon
1F40A crocodile
1F40B whale
1F40C snail
1F40D snake
1F40E horse
1F40F ram
1F410 goat
1F411 sheep
1F412 monkey
1F413 rooster
1F414 chicken
1F415 dog
1F416 pig
1F417 boar
1F418 elephant
1F419 octopus
1F41A spiral shell
1F41B bug
1F41C ant
1F41D honeybee
1F41E lady beetle
1F41F fish
1F420 tropical fish
1F421 blowfish
1F422 turtle
1F423 hatching chick
1F424 baby chick
1F425 front facing baby chick
1F426 bird
1F427 penguin
1F428 koala
1F429 poodle
1F42A dromedary camel
1F42B bactrian camel
1F42C dolphin
1F42D mouse face
1F42E cow face
1F42F tiger face
1F430 rabbit face
1F431 cat face
1F432 dragon face
1F433 spouting whale
1F434 horse face
1F435 monkey face
1F436 dog face
1F437 pig face
1F438 frog face
1F439 hamster face
1F43A wolf face
1F43B bear face
1F43C panda face
1F43D pig nose
1F43E paw prints
1F43F chipmunk
1F440 eyes
1F441 eye
1F442 ear
1F443 nose
1F444 mouth
1F445 tongue
1F446 white up pointing backhand index
1F447 white down pointing backhand index
1F448 white left pointing backhand index
1F449 white right pointing backhand index
1F44A fisted hand
1F44B waving hand
1F44C ok hand
1F44D thumbs up
1F44E thumbs down
1F44F clapping hands
1F450 open hands
1F451 crown
1F452 womans hat
1F453 eyeglasses
1F454 necktie
1F455 t shirt
1F456 jeans
1F457 dress
1F458 kimono
1F459 bikini
1F45A womans clothes
1F45B purse
1F45C handbag
1F45D pouch
1F45E mans shoe
1F45F athletic shoe
1F460 high heeled shoe
1F461 womans sandal
1F462 womans boots
1F463 footprints
1F464 bust silhouette
1F465 busts silhouette
1F466 boy
1F467 girl
1F468 man
1F469 woman
1F46A family
1F46B man woman holding hands
1F46C two men holding hands
1F46D two women holding hands
1F46E police officer
1F46F woman bunny ears
1F470 bride veil
1F471 person blond hair
1F472 man gua pi mao
1F473 man turban
1F474 older man
1F475 older woman
1F476 baby
1F477 construction worker
1F478 princess
1F479 japanese ogre
1F47A japanese goblin
1F47B ghost
1F47C baby angel
1F47D extraterrestrial alien
1F47E alien monster
1F47F imp
1F480 skull
1F481 information desk person
1F482 guardsman
1F483 dancer
1F484 lipstick
1F485 nail polish
1F486 face massage
1F487 haircut
1F488 barber pole
1F489 syringe
1F48A pill
1F48B kiss mark
1F48C love letter
1F48D ring
1F48E gem stone
1F48F kiss
1F490 bouquet
1F491 couple heart
1F492 wedding
1F493 beating heart
1F494 broken heart
1F495 two hearts
1F496 sparkling heart
1F497 growing heart
1F498 heart arrow
1F499 blue heart
1F49A green heart
1F49B yellow heart
1F49C purple heart
1F49D heart ribbon
1F49E revolving hearts
1F49F heart decoration
1F4A0 diamond shape dot inside
1F4A1 electric light bulb
1F4A2 anger
1F4A3 bomb
1F4A4 sleeping
1F4A5 collision
1F4A6 splashing sweat
1F4A7 droplet
1F4A8 dash
1F4A9 pile poo
1F4AA flexed biceps
1F4AB dizzy
1F4AC speech balloon
1F4AD thought balloon
1F4AE white flower
1F4AF hundred points
1F4B0 money bag
1F4B1 currency exchange
1F4B2 heavy dollar
1F4B3 credit card
1F4B4 banknote yen
1F4B5 banknote dollar
1F4B6 banknote euro
1F4B7 banknote pound
1F4B8 money wings
1F4B9 chart upwards trend yen
1F4BA seat
1F4BB personal computer
1F4BC briefcase
1F4BD minidisc
1F4BE floppy disk
1F4BF optical disc
1F4C0 dvd
1F4C1 file folder
1F4C2 open file folder
1F4C3 page curl
1F4C4 page facing up
1F4C5 calendar
1F4C6 tear off calendar
1F4C7 card index
1F4C8 chart upwards trend
1F4C9 chart downwards trend
1F4CA bar chart
1F4CB clipboard
1F4CC pushpin
1F4CD round pushpin
1F4CE paperclip
1F4CF straight ruler
1F4D0 triangular ruler
1F4D1 bookmark tabs
1F4D2 ledger
1F4D3 notebook
1F4D4 notebook decorative cover
1F4D5 closed book
1F4D6 open book
1F4D7 green book
1F4D8 blue book
1F4D9 orange book
1F4DA books
1F4DB name badge
1F4DC scroll
1F4DD memo
1F4DE telephone receiver
1F4DF pager
1F4E0 fax machine
1F4E1 satellite antenna
1F4E2 public address loudspeaker
1F4E3 cheering megaphone
1F4E4 outbox tray
1F4E5 inbox tray
1F4E6 package
1F4E7 e mail
1F4E8 incoming envelope
1F4E9 envelope downwards arrow above
1F4EA closed mailbox lowered flag
1F4EB closed mailbox raised flag
1F4EC open mailbox raised flag
1F4ED open mailbox lowered flag
1F4EE postbox
1F4EF postal horn
1F4F0 newspaper
1F4F1 mobile phone
1F4F2 mobile phone rightwards arrow left
1F4F3 vibration mode
1F4F4 mobile phone off
1F4F5 no mobile phones
1F4F6 antenna bars
1F4F7 camera
1F4F8 camera flash
1F4F9 video camera
1F4FA television
1F4FB radio
1F4FC videocassette
1F4FD film projector
1F4FF prayer beads
1F500 twisted rightwards arrows
1F501 clockwise rightwards leftwards open circle arrows
1F502 clockwise rightwards leftwards open circle arrows circled one
1F503 clockwise downwards upwards open circle arrows
1F504 anticlockwise downwards upwards open circle arrows
1F505 low brightness
1F506 high brightness
1F507 speaker cancellation stroke
1F508 speaker
1F509 speaker one sound wave
1F50A speaker three sound waves
1F50B battery
1F50C electric plug
1F50D left pointing magnifying glass
1F50E right pointing magnifying glass
1F50F lock ink pen
1F510 closed lock key
1F511 key
1F512 lock
1F513 open lock
1F514 bell
1F515 bell cancellation stroke
1F516 bookmark
1F517 link
1F518 radio button
1F519 back leftwards arrow above
1F51A end leftwards arrow above
1F51B exclamation mark left right arrow above
1F51C soon rightwards arrow above
1F51D top upwards arrow above
1F51E no one under eighteen
1F51F keycap ten
1F520 input latin capital letters
1F521 input latin small letters
1F522 input numbers
1F523 input symbols
1F524 input latin letters
1F525 fire
1F526 electric torch
1F527 wrench
1F528 hammer
1F529 nut bolt
1F52A hocho
1F52B pistol
1F52C microscope
1F52D telescope
1F52E crystal ball
1F52F six pointed star middle dot
1F530 japanese beginner
1F531 trident emblem
1F532 black square button
1F533 white square button
1F534 large red circle
1F535 large blue circle
1F536 large orange diamond
1F537 large blue diamond
1F538 small orange diamond
1F539 small blue diamond
1F53A up pointing red triangle
1F53B down pointing red triangle
1F53C up pointing small red triangle
1F53D down pointing small red triangle
1F549 om
1F54A dove peace
1F54B kaaba
1F54C mosque
1F54D synagogue
1F54E menorah nine branches
1F550 clock face one oclock
1F551 clock face two oclock
1F552 clock face three oclock
1F553 clock face four oclock
1F554 clock face five oclock
1F555 clock face six oclock
1F556 clock face seven oclock
1F557 clock face eight oclock
1F558 clock face nine oclock
1F559 clock face ten oclock
1F55A clock face eleven oclock
1F55B clock face twelve oclock
1F55C clock face one thirty
1F55D clock face two thirty
1F55E clock face three thirty
1F55F clock face four thirty
1F560 clock face five thirty
1F561 clock face six thirty
1F562 clock face seven thirty
1F563 clock face eight thirty
1F564 clock face nine thirty
1F565 clock face ten thirty
1F566 clock face eleven thirty
1F567 clock face twelve thirty
1F56F candle
1F570 mantelpiece clock
1F573 hole
1F574 man business suit levitating
1F575 sleuth spy
1F576 dark sunglasses
1F577 spider
1F578 spider web
1F579 joystick
1F57A man dancing
1F587 linked paperclips
1F58A lower left ballpoint pen
1F58B lower left fountain pen
1F58C lower left paintbrush
1F58D lower left crayon
1F590 raised hand fingers splayed
1F595 reversed hand middle finger extended
1F596 raised hand part between middle ring fingers
1F5A4 black heart
1F5A5 desktop computer
1F5A8 printer
1F5B1 three button mouse
1F5B2 trackball
1F5BC frame picture
1F5C2 card index dividers
1F5C3 card file box
1F5C4 file cabinet
1F5D1 wastebasket
1F5D2 spiral note pad
1F5D3 spiral calendar pad
1F5DC compression
1F5DD old key
1F5DE rolled up newspaper
1F5E1 dagger knife
1F5E3 speaking head silhouette
1F5E8 left speech bubble
1F5EF right anger bubble
1F5F3 ballot box
1F5FA world map
1F5FB mount fuji
1F5FC tokyo tower
1F5FD statue liberty
1F5FE silhouette japan
1F5FF moyai
1F600 grinning face
1F601 grinning face smiling eyes
1F602 face tears joy
1F603 smiling face open mouth
1F604 smiling face open mouth eyes
1F605 smiling face open mouth cold sweat
1F606 smiling face open mouth tightly closed eyes
1F607 smiling face halo
1F608 smiling face horns
1F609 winking face
1F60A smiling face eyes
1F60B face savouring delicious food
1F60C relieved face
1F60D smiling face heart shaped eyes
1F60E smiling face sunglasses
1F60F smirking face
1F610 neutral face
1F611 expressionless face
1F612 unamused face
1F613 face cold sweat
1F614 pensive face
1F615 confused face
1F616 confounded face
1F617 kissing face
1F618 face throwing kiss
1F619 kissing face smiling eyes
1F61A kissing face closed eyes
1F61B face stuck out tongue
1F61C face stuck out tongue winking eye
1F61D face stuck out tongue tightly closed eyes
1F61E disappointed face
1F61F worried face
1F620 angry face
1F621 pouting face
1F622 crying face
1F623 persevering face
1F624 face look triumph
1F625 disappointed but relieved face
1F626 frowning face open mouth
1F627 anguished face
1F628 fearful face
1F629 weary face
1F62A sleepy face
1F62B tired face
1F62C grimacing face
1F62D loudly crying face
1F62E face open mouth
1F62F hushed face
1F630 face open mouth cold sweat
1F631 face screaming fear
1F632 astonished face
1F633 flushed face
1F634 sleeping face
1F635 dizzy face
1F636 face without mouth
1F637 face medical mask
1F638 grinning cat face smiling eyes
1F639 cat face tears joy
1F63A smiling cat face open mouth
1F63B smiling cat face heart shaped eyes
1F63C cat face wry smile
1F63D kissing cat face closed eyes
1F63E pouting cat face
1F63F crying cat face
1F640 weary cat face
1F641 slightly frowning face
1F642 slightly smiling face
1F643 upside down face
1F644 face rolling eyes
1F645 face no good gesture
1F646 face ok gesture
1F647 person bowing deeply
1F648 see no evil monkey
1F649 hear no evil monkey
1F64A speak no evil monkey
1F64B happy person raising one hand
1F64C person raising both hands celebration
1F64D person frowning
1F64E person pouting face
1F64F person folded hands
1F680 rocket
1F681 helicopter
1F682 steam locomotive
1F683 railway car
1F684 high speed train
1F685 high speed train bullet nose
1F686 train
1F687 metro
1F688 light rail
1F689 station
1F68A tram
1F68B tram car
1F68C bus
1F68D oncoming bus
1F68E trolleybus
1F68F bus stop
1F690 minibus
1F691 ambulance
1F692 fire engine
1F693 police car
1F694 oncoming police car
1F695 taxi
1F696 oncoming taxi
1F697 automobile
1F698 oncoming automobile
1F699 recreational vehicle
1F69A delivery truck
1F69B articulated lorry
1F69C tractor
1F69D monorail
1F69E mountain railway
1F69F suspension railway
1F6A0 mountain cableway
1F6A1 aerial tramway
1F6A2 ship
1F6A3 rowboat
1F6A4 speedboat
1F6A5 horizontal traffic light
1F6A6 vertical traffic light
1F6A7 construction
1F6A8 police cars revolving light
1F6A9 triangular flag post
1F6AA door
1F6AB no entry
1F6AC smoking
1F6AD no smoking
1F6AE put litter its place
1F6AF do not litter
1F6B0 potable water
1F6B1 non potable water
1F6B2 bicycle
1F6B3 no bicycles
1F6B4 bicyclist
1F6B5 mountain bicyclist
1F6B6 pedestrian
1F6B7 no pedestrians
1F6B8 children crossing
1F6B9 mens
1F6BA womens
1F6BB restroom
1F6BC baby
1F6BD toilet
1F6BE water closet
1F6BF shower
1F6C0 bath
1F6C1 bathtub
1F6C2 passport control
1F6C3 customs
1F6C4 baggage claim
1F6C5 left luggage
1F6CB couch lamp
1F6CC sleeping accommodation
1F6CD shopping bags
1F6CE bellhop bell
1F6CF bed
1F6D0 place worship
1F6D1 octagonal
1F6D2 shopping trolley
1F6D5 hindu temple
1F6D6 hut
1F6D7 elevator
1F6DD playground slide
1F6DE wheel
1F6DF ring buoy
1F6E0 hammer wrench
1F6E1 shield
1F6E2 oil drum
1F6E3 motorway
1F6E4 railway track
1F6E5 motor boat
1F6E9 small airplane
1F6EB airplane departure
1F6EC airplane arriving
1F6F0 satellite
1F6F3 passenger ship
1F6F4 scooter
1F6F5 motor scooter
1F6F6 canoe
1F6F7 sled
1F6F8 flying saucer
1F6F9 skateboard
1F6FA auto rickshaw
1F6FB pickup truck
1F6FC roller skate
1F7E0 large orange circle
1F7E1 large yellow circle
1F7E2 large green circle
1F7E3 large purple circle
1F7E4 large brown circle
1F7E5 large red square
1F7E6 large blue square
1F7E7 large orange square
1F7E8 large yellow square
1F7E9 large green square
1F7EA large purple square
1F7EB large brown square
1F7F0 heavy equals
1F90C pinched fingers
1F90D white heart
1F90E brown heart
1F90F pinching hand
1F910 zipper mouth face
1F911 money mouth face
1F912 face thermometer
1F913 nerd face
1F914 thinking face
1F915 face head bandage
1F916 robot face
1F917 hugging face
1F918 horns
1F919 call me hand
1F91A raised back hand
1F91B left facing fist
1F91C right facing fist
1F91D handshake
1F91E hand index middle fingers crossed
1F91F i love you hand
1F920 face cowboy hat
1F921 clown face
1F922 nauseated face
1F923 rolling floor laughing
1F924 drooling face
1F925 lying face
1F926 face palm
1F927 sneezing face
1F928 face one eyebrow raised
1F929 grinning face star eyes
1F92A grinning face one large small eye
1F92B face finger covering closed lips
1F92C serious face symbols covering mouth
1F92D smiling face eyes hand covering mouth
1F92E face open mouth vomiting
1F92F shocked face exploding head
1F930 pregnant woman
1F931 breast feeding
1F932 palms up together
1F933 selfie
1F934 prince
1F935 man tuxedo
1F936 mother christmas
1F937 shrug
1F938 person doing cartwheel
1F939 juggling
1F93A fencer
1F93C wrestlers
1F93D water polo
1F93E handball
1F93F diving mask
1F940 wilted flower
1F941 drum drumsticks
1F942 clinking glasses
1F943 tumbler glass
1F944 spoon
1F945 goal net
1F947 first place medal
1F948 second place medal
1F949 third place medal
1F94A boxing glove
1F94B martial arts uniform
1F94C curling stone
1F94D lacrosse stick ball
1F94E softball
1F94F flying disc
1F950 croissant
1F951 avocado
1F952 cucumber
1F953 bacon
1F954 potato
1F955 carrot
1F956 baguette bread
1F957 green salad
1F958 shallow pan food
1F959 stuffed flatbread
1F95A egg
1F95B glass milk
1F95C peanuts
1F95D kiwifruit
1F95E pancakes
1F95F dumpling
1F960 fortune cookie
1F961 takeout box
1F962 chopsticks
1F963 bowl spoon
1F964 cup straw
1F965 coconut
1F966 broccoli
1F967 pie
1F968 pretzel
1F969 cut meat
1F96A sandwich
1F96B canned food
1F96C leafy green
1F96D mango
1F96E moon cake
1F96F bagel
1F970 smiling face eyes three hearts
1F971 yawning face
1F972 smiling face tear
1F973 face party horn hat
1F974 face uneven eyes wavy mouth
1F975 overheated face
1F976 freezing face
1F977 ninja
1F978 disguised face
1F979 face holding back tears
1F97A face pleading eyes
1F97B sari
1F97C lab coat
1F97D goggles
1F97E hiking boot
1F97F flat shoe
1F980 crab
1F981 lion face
1F982 scorpion
1F983 turkey
1F984 unicorn face
1F985 eagle
1F986 duck
1F987 bat
1F988 shark
1F989 owl
1F98A fox face
1F98B butterfly
1F98C deer
1F98D gorilla
1F98E lizard
1F98F rhinoceros
1F990 shrimp
1F991 squid
1F992 giraffe face
1F993 zebra face
1F994 hedgehog
1F995 sauropod
1F996 t rex
1F997 cricket
1F998 kangaroo
1F999 llama
1F99A peacock
1F99B hippopotamus
1F99C parrot
1F99D raccoon
1F99E lobster
1F99F mosquito
1F9A0 microbe
1F9A1 badger
1F9A2 swan
1F9A3 mammoth
1F9A4 dodo
1F9A5 sloth
1F9A6 otter
1F9A7 orangutan
1F9A8 skunk
1F9A9 flamingo
1F9AA oyster
1F9AB beaver
1F9AC bison
1F9AD seal
1F9AE guide dog
1F9AF probing cane
1F9B4 bone
1F9B5 leg
1F9B6 foot
1F9B7 tooth
1F9B8 superhero
1F9B9 supervillain
1F9BA safety vest
1F9BB ear hearing aid
1F9BC motorized wheelchair
1F9BD manual wheelchair
1F9BE mechanical arm
1F9BF mechanical leg
1F9C0 cheese wedge
1F9C1 cupcake
1F9C2 salt shaker
1F9C3 beverage box
1F9C4 garlic
1F9C5 onion
1F9C6 falafel
1F9C7 waffle
1F9C8 butter
1F9C9 mate drink
1F9CA ice cube
1F9CB bubble tea
1F9CC troll
1F9CD standing person
1F9CE kneeling person
1F9CF deaf person
1F9D0 face monocle
1F9D1 adult
1F9D2 child
1F9D3 older adult
1F9D4 bearded person
1F9D5 person headscarf
1F9D6 person steamy room
1F9D7 person climbing
1F9D8 person lotus position
1F9D9 mage
1F9DA fairy
1F9DB vampire
1F9DC merperson
1F9DD elf
1F9DE genie
1F9DF zombie
1F9E0 brain
1F9E1 orange heart
1F9E2 billed cap
1F9E3 scarf
1F9E4 gloves
1F9E5 coat
1F9E6 socks
1F9E7 red gift envelope
1F9E8 firecracker
1F9E9 jigsaw puzzle piece
1F9EA test tube
1F9EB petri dish
1F9EC dna double helix
1F9ED compass
1F9EE abacus
1F9EF fire extinguisher
1F9F0 toolbox
1F9F1 brick
1F9F2 magnet
1F9F3 luggage
1F9F4 lotion bottle
1F9F5 spool thread
1F9F6 ball yarn
1F9F7 safety pin
1F9F8 teddy bear
1F9F9 broom
1F9FA basket
1F9FB roll paper
1F9FC bar soap
1F9FD sponge
1F9FE receipt
1F9FF nazar amulet
1FA70 ballet shoes
1FA71 one piece swimsuit
1FA72 briefs
1FA73 shorts
1FA74 thong sandal
1FA78 drop blood
1FA79 adhesive bandage
1FA7A stethoscope
1FA7B x ray
1FA7C crutch
1FA80 yo
1FA81 kite
1FA82 parachute
1FA83 boomerang
1FA84 magic wand
1FA85 pinata
1FA86 nesting dolls
1FA90 ringed planet
1FA91 chair
1FA92 razor
1FA93 axe
1FA94 diya lamp
1FA95 banjo
1FA96 military helmet
1FA97 accordion
1FA98 long drum
1FA99 coin
1FA9A carpentry saw
1FA9B screwdriver
1FA9C ladder
1FA9D hook
1FA9E mirror
1FA9F window
1FAA0 plunger
1FAA1 sewing needle
1FAA2 knot
1FAA3 bucket
1FAA4 mouse trap
1FAA5 toothbrush
1FAA6 headstone
1FAA7 placard
1FAA8 rock
1FAA9 mirror ball
1FAAA identification card
1FAAB low battery
1FAAC hamsa
1FAB0 fly
1FAB1 worm
1FAB2 beetle
1FAB3 cockroach
1FAB4 potted plant
1FAB5 wood
1FAB6 feather
1FAB7 lotus
1FAB8 coral
1FAB9 empty nest
1FABA nest eggs
1FAC0 anatomical heart
1FAC1 lungs
1FAC2 people hugging
1FAC3 pregnant man
1FAC4 pregnant person
1FAC5 person crown
1FAD0 blueberries
1FAD1 bell pepper
1FAD2 olive
1FAD3 flatbread
1FAD4 tamale
1FAD5 fondue
1FAD6 teapot
1FAD7 pouring liquid
1FAD8 beans
1FAD9 jar
1FAE0 melting face
1FAE1 saluting face
1FAE2 face open eyes hand mouth
1FAE3 face peeking eye
1FAE4 face diagonal mouth
1FAE5 dotted line face
1FAE6 biting lip
1FAE7 bubbles
1FAF0 hand index finger thumb crossed
1FAF1 rightwards hand
1FAF2 leftwards hand
1FAF3 palm down hand
1FAF4 palm up hand
1FAF5 index pointing viewer
1FAF6 heart hands
1F469-200D-2695 woman staff aesculapius
1F468-200D-2695 man staff aesculapius
1F9D1-200D-2695 adult staff aesculapius
1F469-200D-2696 woman scales
1F468-200D-2696 man scales
1F9D1-200D-2696 adult scales
26F9-200D-2640-FE0F woman person ball
26F9-200D-2642-FE0F man person ball
1F469-200D-2708 woman airplane
1F468-200D-2708 man airplane
1F9D1-200D-2708 adult airplane
1F469-200D-1F33E woman ear rice
1F468-200D-1F33E man ear rice
1F9D1-200D-1F33E adult ear rice
1F469-200D-1F373 woman cooking
1F468-200D-1F373 man cooking
1F9D1-200D-1F373 adult cooking
1F469-200D-1F37C woman baby bottle
1F468-200D-1F37C man baby bottle
1F9D1-200D-1F37C adult baby bottle
1F9D1-200D-1F384 adult christmas tree
1F469-200D-1F393 woman graduation cap
1F468-200D-1F393 man graduation cap
1F9D1-200D-1F393 adult graduation cap
1F469-200D-1F3A4 woman microphone
1F468-200D-1F3A4 man microphone
1F9D1-200D-1F3A4 adult microphone
1F469-200D-1F3A8 woman artist palette
1F468-200D-1F3A8 man artist palette
1F9D1-200D-1F3A8 adult artist palette
1F3C3-200D-2640-FE0F woman runner
1F3C3-200D-2642-FE0F man runner
1F3C4-200D-2640-FE0F woman surfer
1F3C4-200D-2642-FE0F man surfer
1F3CA-200D-2640-FE0F woman swimmer
1F3CA-200D-2642-FE0F man swimmer
1F3CB-200D-2640-FE0F woman weight lifter
1F3CB-200D-2642-FE0F man weight lifter
1F3CC-200D-2640-FE0F woman golfer
1F3CC-200D-2642-FE0F man golfer
1F469-200D-1F3EB woman school
1F468-200D-1F3EB man school
1F9D1-200D-1F3EB adult school
1F469-200D-1F3ED woman factory
1F468-200D-1F3ED man factory
1F9D1-200D-1F3ED adult factory
1F469-200D-1F466 woman boy
1F468-200D-1F466 man boy
1F469-200D-1F467 woman girl
1F468-200D-1F467 man girl
1F46E-200D-2640-FE0F woman police officer
1F46E-200D-2642-FE0F man police officer
1F46F-200D-2640-FE0F woman bunny ears
1F46F-200D-2642-FE0F man woman bunny ears
1F470-200D-2640-FE0F woman bride veil
1F470-200D-2642-FE0F man bride veil
1F471-200D-2640-FE0F woman person blond hair
1F471-200D-2642-FE0F man person blond hair
1F473-200D-2640-FE0F woman man turban
1F473-200D-2642-FE0F man turban
1F477-200D-2640-FE0F woman construction worker
1F477-200D-2642-FE0F man construction worker
1F481-200D-2640-FE0F woman information desk person
1F481-200D-2642-FE0F man information desk person
1F482-200D-2640-FE0F woman guardsman
1F482-200D-2642-FE0F man guardsman
1F486-200D-2640-FE0F woman face massage
1F486-200D-2642-FE0F man face massage
1F487-200D-2640-FE0F woman haircut
1F487-200D-2642-FE0F man haircut
1F469-200D-1F4BB woman personal computer
1F468-200D-1F4BB man personal computer
1F9D1-200D-1F4BB adult personal computer
1F469-200D-1F4BC woman briefcase
1F468-200D-1F4BC man briefcase
1F9D1-200D-1F4BC adult briefcase
1F469-200D-1F527 woman wrench
1F468-200D-1F527 man wrench
1F9D1-200D-1F527 adult wrench
1F469-200D-1F52C woman microscope
1F468-200D-1F52C man microscope
1F9D1-200D-1F52C adult microscope
1F575-200D-2640-FE0F woman sleuth spy
1F575-200D-2642-FE0F man sleuth spy
1F645-200D-2640-FE0F woman face no good gesture
1F645-200D-2642-FE0F man face no good gesture
1F646-200D-2640-FE0F woman face ok gesture
1F646-200D-2642-FE0F man face ok gesture
1F647-200D-2640-FE0F woman person bowing deeply
1F647-200D-2642-FE0F man person bowing deeply
1F64B-200D-2640-FE0F woman happy person raising one hand
1F64B-200D-2642-FE0F man happy person raising one hand
1F64D-200D-2640-FE0F woman person frowning
1F64D-200D-2642-FE0F man person frowning
1F64E-200D-2640-FE0F woman person pouting face
1F64E-200D-2642-FE0F man person pouting face
1F469-200D-1F680 woman rocket
1F468-200D-1F680 man rocket
1F9D1-200D-1F680 adult rocket
1F469-200D-1F692 woman fire engine
1F468-200D-1F692 man fire engine
1F9D1-200D-1F692 adult fire engine
1F6A3-200D-2640-FE0F woman rowboat
1F6A3-200D-2642-FE0F man rowboat
1F6B4-200D-2640-FE0F woman bicyclist
1F6B4-200D-2642-FE0F man bicyclist
1F6B5-200D-2640-FE0F woman mountain bicyclist
1F6B5-200D-2642-FE0F man mountain bicyclist
1F6B6-200D-2640-FE0F woman pedestrian
1F6B6-200D-2642-FE0F man pedestrian
1F926-200D-2640-FE0F woman face palm
1F926-200D-2642-FE0F man face palm
1F935-200D-2640-FE0F woman man tuxedo
1F935-200D-2642-FE0F man tuxedo
1F937-200D-2640-FE0F woman shrug
1F937-200D-2642-FE0F man shrug
1F938-200D-2640-FE0F woman person doing cartwheel
1F938-200D-2642-FE0F man person doing cartwheel
1F939-200D-2640-FE0F woman juggling
1F939-200D-2642-FE0F man juggling
1F93C-200D-2640-FE0F woman wrestlers
1F93C-200D-2642-FE0F man wrestlers
1F93D-200D-2640-FE0F woman water polo
1F93D-200D-2642-FE0F man water polo
1F93E-200D-2640-FE0F woman handball
1F93E-200D-2642-FE0F man handball
1F469-200D-1F9AF woman probing cane
1F468-200D-1F9AF man probing cane
1F9D1-200D-1F9AF adult probing cane
1F9B8-200D-2640-FE0F woman superhero
1F9B8-200D-2642-FE0F man superhero
1F9B9-200D-2640-FE0F woman supervillain
1F9B9-200D-2642-FE0F man supervillain
1F469-200D-1F9BC woman motorized wheelchair
1F468-200D-1F9BC man motorized wheelchair
1F9D1-200D-1F9BC adult motorized wheelchair
1F469-200D-1F9BD woman manual wheelchair
1F468-200D-1F9BD man manual wheelchair
1F9D1-200D-1F9BD adult manual wheelchair
1F9CD-200D-2640-FE0F woman standing person
1F9CD-200D-2642-FE0F man standing person
1F9CE-200D-2640-FE0F woman kneeling person
1F9CE-200D-2642-FE0F man kneeling person
1F9CF-200D-2640-FE0F woman deaf person
1F9CF-200D-2642-FE0F man deaf person
1F9D4-200D-2640-FE0F woman bearded person
1F9D4-200D-2642-FE0F man bearded person
1F9D6-200D-2640-FE0F woman person steamy room
1F9D6-200D-2642-FE0F man person steamy room
1F9D7-200D-2640-FE0F woman person climbing
1F9D7-200D-2642-FE0F man person climbing
1F9D8-200D-2640-FE0F woman person lotus position
1F9D8-200D-2642-FE0F man person lotus position
1F9D9-200D-2640-FE0F woman mage
1F9D9-200D-2642-FE0F man mage
1F9DA-200D-2640-FE0F woman fairy
1F9DA-200D-2642-FE0F man fairy
1F9DB-200D-2640-FE0F woman vampire
1F9DB-200D-2642-FE0F man vampire
1F9DC-200D-2640-FE0F woman merperson
1F9DC-200D-2642-FE0F man merperson
1F9DD-200D-2640-FE0F woman elf
1F9DD-200D-2642-FE0F man elf
1F9DE-200D-2640-FE0F woman genie
1F9DE-200D-2642-FE0F man genie
1F9DF-200D-2640-FE0F woman zombie
1F9DF-200D-2642-FE0F man zombie
"""
