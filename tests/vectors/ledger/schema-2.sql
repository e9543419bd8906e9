-- A ledger as the release of schema 2 left it; kept for ever.
BEGIN TRANSACTION;
CREATE TABLE alarm (
  origin TEXT NOT NULL, session INTEGER NOT NULL, seq INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,
  code TEXT NOT NULL,
  text TEXT NOT NULL,
  state TEXT NOT NULL,
  epoch INTEGER, lane INTEGER, number INTEGER,
  batch TEXT NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (origin, session, seq, digest)
) STRICT;
INSERT INTO "alarm" VALUES('line',77,50,5,'FRAME_LOST','a frame was lost','execute',1,0,3,'B-1',1795000000123456789,'unsynchronised',X'012713635E1F0DDE27E24740C5AC66AAC63170C91CDB87BDA31388279443E654');
INSERT INTO "alarm" VALUES('line',77,53,5,'FRAME_LOST','Größe','execute',1,0,3,'B-1',1795000000123456789,'unsynchronised',X'C927D3EF7B3EECEF8D0F6B061756B44A597D6D9A4482CC51D2D02D091AB55789');
CREATE TABLE batch (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('open', 'closed')),
  station TEXT NOT NULL,
  bundle TEXT NOT NULL,
  recipe TEXT NOT NULL,
  bundle_name TEXT NOT NULL,
  recipe_name TEXT NOT NULL,
  register_map TEXT NOT NULL,
  release TEXT NOT NULL,
  configuration TEXT NOT NULL,
  actor TEXT NOT NULL,
  role TEXT NOT NULL,
  reason TEXT NOT NULL,
  opened_wall_ns INTEGER NOT NULL,
  opened_clock TEXT NOT NULL,
  since_epoch INTEGER NOT NULL,                     -- newest epoch on record when it was opened
  closed_actor TEXT NOT NULL DEFAULT '',
  closed_reason TEXT NOT NULL DEFAULT '',
  closed_wall_ns INTEGER NOT NULL DEFAULT 0,
  closed_clock TEXT NOT NULL DEFAULT '',
  report TEXT NOT NULL DEFAULT ''                   -- report-v1 as it stood when the batch closed
) STRICT;
INSERT INTO "batch" VALUES('B-1','closed','ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr','vials','2R','mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm','dev','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','a.person','operator','test',1795000000123456789,'unsynchronised',0,'a.person','done',1795000000123456789,'unsynchronised','{"report_version": 1}');
CREATE TABLE conflict (
  kind TEXT NOT NULL,
  digest BLOB NOT NULL,
  why TEXT NOT NULL,
  message TEXT NOT NULL,
  session INTEGER NOT NULL, seq INTEGER NOT NULL,
  batch TEXT NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  PRIMARY KEY (kind, digest)
) STRICT;
INSERT INTO "conflict" VALUES('UnitRow',X'086C524B092534586D33300AFA0B1310CE13AED00B7C0549A3140F404561397C','unit 1.0.3 is on record as accepted and came again as rejected','{"type":"unit_row","seq":52,"unit":[1,0,3],"batch":"B-1","configuration":"cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc","outcome":"rejected","verdict":"reject","reason":"defect","channel":"critical","defect":"crack","source":"line","views":[{"view":["side",0,0],"key":["side",9,3],"device_ts":3000,"digest":"0000000000000000000000000000000000000000000000000000000000000003","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,3],"device_ts":3000,"digest":"0000000000000000000000000000000000000000000000000000000000000003","scores":{"crack":0.1,"good":0.9}}],"bundle":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","plc_flags":6,"encoder":12000,"stages":{"created_ns":300000001,"last_edge_ns":310000001,"frame_ns":312000001,"inferred_ns":314000001,"inference_ns":1500000,"judged_ns":315000001,"permit_ns":316000001,"closed_ns":360000001}}',77,52,'B-1',1795000000123456789,'unsynchronised');
CREATE TABLE gap (
  session INTEGER NOT NULL, seq INTEGER NOT NULL,
  epoch INTEGER NOT NULL, lane INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  cause TEXT NOT NULL,
  batch TEXT NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (session, seq, digest)
) STRICT;
INSERT INTO "gap" VALUES(77,51,1,0,20,22,'ring overrun','B-1',1795000000123456789,'unsynchronised',X'1DAA45D9B09B5E04709E6DC06D9B89206EAB0895F261BF1062570DA8FBA65723');
CREATE TABLE permit (
  epoch INTEGER NOT NULL, lane INTEGER NOT NULL, number INTEGER NOT NULL,
  batch TEXT NOT NULL,
  configuration TEXT NOT NULL,
  verdict TEXT NOT NULL,
  bundle TEXT NOT NULL,
  views TEXT NOT NULL,
  created_ns INTEGER NOT NULL, last_edge_ns INTEGER NOT NULL, frame_ns INTEGER NOT NULL, inferred_ns INTEGER NOT NULL,
  inference_ns INTEGER NOT NULL, judged_ns INTEGER NOT NULL, permit_ns INTEGER NOT NULL, closed_ns INTEGER NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (epoch, lane, number)
) STRICT;
INSERT INTO "permit" VALUES(1,0,1,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accept','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','[{"view":["side",0,0],"key":["side",9,1],"device_ts":1000,"digest":"0000000000000000000000000000000000000000000000000000000000000001","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,1],"device_ts":1000,"digest":"0000000000000000000000000000000000000000000000000000000000000001","scores":{"crack":0.1,"good":0.9}}]',100000001,110000001,112000001,114000001,1500000,115000001,116000001,160000001,1795000000123456789,'unsynchronised',X'607784E8A438638BAFB252CAC7B2B574AB073C11681BC1CE6659CF52A40A7B3F');
INSERT INTO "permit" VALUES(1,0,2,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accept','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','[{"view":["side",0,0],"key":["side",9,2],"device_ts":2000,"digest":"0000000000000000000000000000000000000000000000000000000000000002","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,2],"device_ts":2000,"digest":"0000000000000000000000000000000000000000000000000000000000000002","scores":{"crack":0.1,"good":0.9}}]',200000001,210000001,212000001,214000001,1500000,215000001,216000001,260000001,1795000000123456789,'unsynchronised',X'005E00F1099AE2ECDCA06F3943605FB429F0252B9A8A38BA06FE7336DDEA06AA');
INSERT INTO "permit" VALUES(1,0,3,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accept','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','[{"view":["side",0,0],"key":["side",9,3],"device_ts":3000,"digest":"0000000000000000000000000000000000000000000000000000000000000003","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,3],"device_ts":3000,"digest":"0000000000000000000000000000000000000000000000000000000000000003","scores":{"crack":0.1,"good":0.9}}]',300000001,310000001,312000001,314000001,1500000,315000001,316000001,360000001,1795000000123456789,'unsynchronised',X'4E9022FBF40FB663229902835CDB51BE02342CE47E3604E4F4B3417C3AB407A8');
INSERT INTO "permit" VALUES(1,0,4,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accept','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','[{"view":["side",0,0],"key":["side",9,4],"device_ts":4000,"digest":"0000000000000000000000000000000000000000000000000000000000000004","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,4],"device_ts":4000,"digest":"0000000000000000000000000000000000000000000000000000000000000004","scores":{"crack":0.1,"good":0.9}}]',400000001,410000001,412000001,414000001,1500000,415000001,416000001,460000001,1795000000123456789,'unsynchronised',X'884EDD8B723760C58D5882EBF9CFE2D8B658E1CB801BA2742A1D7326F2A2AFD2');
INSERT INTO "permit" VALUES(1,0,5,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accept','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','[{"view":["side",0,0],"key":["side",9,5],"device_ts":5000,"digest":"0000000000000000000000000000000000000000000000000000000000000005","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,5],"device_ts":5000,"digest":"0000000000000000000000000000000000000000000000000000000000000005","scores":{"crack":0.1,"good":0.9}}]',500000001,510000001,512000001,514000001,1500000,515000001,516000001,560000001,1795000000123456789,'unsynchronised',X'547CF8FF2F91807DAE3C25A78349DC5C12DAF1ED5CC907CE73C4E6F86DC1057F');
INSERT INTO "permit" VALUES(1,0,6,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accept','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','[{"view":["side",0,0],"key":["side",9,6],"device_ts":6000,"digest":"0000000000000000000000000000000000000000000000000000000000000006","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,6],"device_ts":6000,"digest":"0000000000000000000000000000000000000000000000000000000000000006","scores":{"crack":0.1,"good":0.9}}]',600000001,610000001,612000001,614000001,1500000,615000001,616000001,660000001,1795000000123456789,'unsynchronised',X'AA457F2AE33943CCABCAEDB6812E23E8F06CD72A7B73E69420DBA84BECF2F5D5');
INSERT INTO "permit" VALUES(1,0,7,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accept','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','[{"view":["side",0,0],"key":["side",9,7],"device_ts":7000,"digest":"0000000000000000000000000000000000000000000000000000000000000007","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,7],"device_ts":7000,"digest":"0000000000000000000000000000000000000000000000000000000000000007","scores":{"crack":0.1,"good":0.9}}]',700000001,710000001,712000001,714000001,1500000,715000001,716000001,760000001,1795000000123456789,'unsynchronised',X'D6C9DE4FDCFFD0274F325240C4AD5678D1263268A4063C3C0D51C551634FE723');
INSERT INTO "permit" VALUES(1,0,8,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accept','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','[{"view":["side",0,0],"key":["side",9,8],"device_ts":8000,"digest":"0000000000000000000000000000000000000000000000000000000000000008","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,8],"device_ts":8000,"digest":"0000000000000000000000000000000000000000000000000000000000000008","scores":{"crack":0.1,"good":0.9}}]',800000001,810000001,812000001,814000001,1500000,815000001,816000001,860000001,1795000000123456789,'unsynchronised',X'956E4F6C01A0083DC906C3882C09CF5A6DCCD481CE421EEA84261219A82FD9E9');
INSERT INTO "permit" VALUES(1,0,9,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accept','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','[{"view":["side",0,0],"key":["side",9,9],"device_ts":9000,"digest":"0000000000000000000000000000000000000000000000000000000000000009","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,9],"device_ts":9000,"digest":"0000000000000000000000000000000000000000000000000000000000000009","scores":{"crack":0.1,"good":0.9}}]',900000001,910000001,912000001,914000001,1500000,915000001,916000001,960000001,1795000000123456789,'unsynchronised',X'186731145DC385386362AD454B7ECB92F8ED79E01CD8FA7F27C0C41E1BDAC826');
INSERT INTO "permit" VALUES(1,0,10,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accept','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','[{"view":["side",0,0],"key":["side",9,10],"device_ts":10000,"digest":"000000000000000000000000000000000000000000000000000000000000000a","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,10],"device_ts":10000,"digest":"000000000000000000000000000000000000000000000000000000000000000a","scores":{"crack":0.1,"good":0.9}}]',1000000001,1010000001,1012000001,1014000001,1500000,1015000001,1016000001,1060000001,1795000000123456789,'unsynchronised',X'789E56385B13A1363139AF0DED0B3F80B4DA3579C048F9C8E9FB95F6A826F9FD');
INSERT INTO "permit" VALUES(1,0,11,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accept','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','[{"view":["side",0,0],"key":["side",9,11],"device_ts":11000,"digest":"000000000000000000000000000000000000000000000000000000000000000b","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,11],"device_ts":11000,"digest":"000000000000000000000000000000000000000000000000000000000000000b","scores":{"crack":0.1,"good":0.9}}]',1100000001,1110000001,1112000001,1114000001,1500000,1115000001,1116000001,1160000001,1795000000123456789,'unsynchronised',X'F003F594B6DAEE2F1EC826F2558FF51852371EC1B1ABD87C0B3AA5AF81B80A91');
INSERT INTO "permit" VALUES(1,0,12,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accept','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','[{"view":["side",0,0],"key":["side",9,12],"device_ts":12000,"digest":"000000000000000000000000000000000000000000000000000000000000000c","scores":{"crack":0.1,"good":0.9}},{"view":["crimp",0,0],"key":["crimp",9,12],"device_ts":12000,"digest":"000000000000000000000000000000000000000000000000000000000000000c","scores":{"crack":0.1,"good":0.9}}]',1200000001,1210000001,1212000001,1214000001,1500000,1215000001,1216000001,1260000001,1795000000123456789,'unsynchronised',X'96AD8DB4C7855A30D8DD4F7053894E17C3647E161DBF47544D93E76B711864F2');
CREATE TABLE plc_totals (
  batch TEXT NOT NULL, epoch INTEGER NOT NULL, lane INTEGER NOT NULL,
  session INTEGER NOT NULL, seq INTEGER NOT NULL,
  created INTEGER NOT NULL, passed INTEGER NOT NULL, diverted INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL,
  created_before INTEGER NOT NULL, passed_before INTEGER NOT NULL, diverted_before INTEGER NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL, stray_pass INTEGER NOT NULL DEFAULT 0, stray_chute INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (batch, epoch, lane)
) STRICT;
INSERT INTO "plc_totals" VALUES('B-1',1,0,77,38,12,12,0,1,12,0,0,0,1795000000123456789,'unsynchronised',0,0);
CREATE TABLE session (
  session INTEGER PRIMARY KEY,
  acknowledged INTEGER NOT NULL,
  begun_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL
) STRICT;
INSERT INTO "session" VALUES(77,53,1795000000123456789,'unsynchronised');
CREATE TABLE unit (
  epoch INTEGER NOT NULL, lane INTEGER NOT NULL, number INTEGER NOT NULL,
  batch TEXT NOT NULL,
  configuration TEXT NOT NULL,
  outcome TEXT NOT NULL,
  verdict TEXT NOT NULL,
  reason TEXT NOT NULL,
  channel TEXT NOT NULL,
  defect TEXT NOT NULL,
  source TEXT NOT NULL,
  bundle TEXT NOT NULL,
  plc_flags INTEGER NOT NULL,
  encoder INTEGER NOT NULL,
  created_ns INTEGER NOT NULL, last_edge_ns INTEGER NOT NULL, frame_ns INTEGER NOT NULL, inferred_ns INTEGER NOT NULL,
  inference_ns INTEGER NOT NULL, judged_ns INTEGER NOT NULL, permit_ns INTEGER NOT NULL, closed_ns INTEGER NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (epoch, lane, number)
) STRICT;
INSERT INTO "unit" VALUES(1,0,1,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accepted','accept','none','none','','line','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',9,4000,100000001,110000001,112000001,114000001,1500000,115000001,116000001,160000001,1795000000123456789,'unsynchronised',X'E491F2FF1A060A9AD62C8A7687993B93D9928E230584203C5DB257D91414FA2C');
INSERT INTO "unit" VALUES(1,0,2,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accepted','accept','none','none','','line','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',9,8000,200000001,210000001,212000001,214000001,1500000,215000001,216000001,260000001,1795000000123456789,'unsynchronised',X'C24B6D19E0D156C72A43DB0DA57E7CA45F90638545CE548C8C5BB70EE7624618');
INSERT INTO "unit" VALUES(1,0,3,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accepted','accept','none','none','','line','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',9,12000,300000001,310000001,312000001,314000001,1500000,315000001,316000001,360000001,1795000000123456789,'unsynchronised',X'72F97E22FA91A9D1A5510768294F7C1F30C22CB5AB6B44B5494777D1A82953D3');
INSERT INTO "unit" VALUES(1,0,4,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accepted','accept','none','none','','line','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',9,16000,400000001,410000001,412000001,414000001,1500000,415000001,416000001,460000001,1795000000123456789,'unsynchronised',X'821B1840901DD494501A16D8C5220E287EF204311C876AEA77016DC7A2C226F5');
INSERT INTO "unit" VALUES(1,0,5,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','rejected','reject','defect','critical','crack','line','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',6,20000,500000001,510000001,512000001,514000001,1500000,515000001,516000001,560000001,1795000000123456789,'unsynchronised',X'48B0EBF155AD7E31833B68368A032FCACD483424AC81A41B1C808B9D6CA8FA95');
INSERT INTO "unit" VALUES(1,0,6,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accepted','accept','none','none','','line','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',9,24000,600000001,610000001,612000001,614000001,1500000,615000001,616000001,660000001,1795000000123456789,'unsynchronised',X'5F6C019261C8D42FCCCD804FCD60483720A8EC1521DF799D60CBAC2BC99F62E3');
INSERT INTO "unit" VALUES(1,0,7,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accepted','accept','none','none','','line','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',9,28000,700000001,710000001,712000001,714000001,1500000,715000001,716000001,760000001,1795000000123456789,'unsynchronised',X'4270D6A81C1D51BAF08F805938EFFD1E5C3FE1846E0B04DB1BEAA0F2F4088DB6');
INSERT INTO "unit" VALUES(1,0,8,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accepted','accept','none','none','','line','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',9,32000,800000001,810000001,812000001,814000001,1500000,815000001,816000001,860000001,1795000000123456789,'unsynchronised',X'B9C31946C6612C5F97A4C699205DA95C35FFF9F978F0486AFAC8E6773711E40E');
INSERT INTO "unit" VALUES(1,0,9,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accepted','accept','none','none','','line','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',9,36000,900000001,910000001,912000001,914000001,1500000,915000001,916000001,960000001,1795000000123456789,'unsynchronised',X'4C62D36065E3996864C1E2EF634151C87944DE3E235BF64FD26F151ED195AB9C');
INSERT INTO "unit" VALUES(1,0,10,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','rejected','reject','defect','critical','crack','line','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',6,40000,1000000001,1010000001,1012000001,1014000001,1500000,1015000001,1016000001,1060000001,1795000000123456789,'unsynchronised',X'DC159D051F8345578FB230D030711C1A08B14D41CD64564A8DACE8DC1283A6C0');
INSERT INTO "unit" VALUES(1,0,11,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accepted','accept','none','none','','line','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',9,44000,1100000001,1110000001,1112000001,1114000001,1500000,1115000001,1116000001,1160000001,1795000000123456789,'unsynchronised',X'54501448136FF12074F0F83AB166348D86A651569C38A21C40F8141C4C3A6322');
INSERT INTO "unit" VALUES(1,0,12,'B-1','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','accepted','accept','none','none','','line','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',9,48000,1200000001,1210000001,1212000001,1214000001,1500000,1215000001,1216000001,1260000001,1795000000123456789,'unsynchronised',X'D278F1E663D2EB402C2B3E4AB30A127E12492E0E6842893D24D71E1E0245EBD5');
CREATE TABLE unit_view (
  epoch INTEGER NOT NULL, lane INTEGER NOT NULL, number INTEGER NOT NULL, position INTEGER NOT NULL,
  camera TEXT NOT NULL, region INTEGER NOT NULL, shot INTEGER NOT NULL,
  frame_camera TEXT NOT NULL, frame_session INTEGER NOT NULL, frame_id INTEGER NOT NULL,
  device_ts INTEGER NOT NULL,
  pixel_digest TEXT NOT NULL,
  scores TEXT NOT NULL,
  PRIMARY KEY (epoch, lane, number, position)
) STRICT, WITHOUT ROWID;
INSERT INTO "unit_view" VALUES(1,0,1,0,'side',0,0,'side',9,1,1000,'0000000000000000000000000000000000000000000000000000000000000001','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,1,1,'crimp',0,0,'crimp',9,1,1000,'0000000000000000000000000000000000000000000000000000000000000001','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,2,0,'side',0,0,'side',9,2,2000,'0000000000000000000000000000000000000000000000000000000000000002','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,2,1,'crimp',0,0,'crimp',9,2,2000,'0000000000000000000000000000000000000000000000000000000000000002','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,3,0,'side',0,0,'side',9,3,3000,'0000000000000000000000000000000000000000000000000000000000000003','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,3,1,'crimp',0,0,'crimp',9,3,3000,'0000000000000000000000000000000000000000000000000000000000000003','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,4,0,'side',0,0,'side',9,4,4000,'0000000000000000000000000000000000000000000000000000000000000004','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,4,1,'crimp',0,0,'crimp',9,4,4000,'0000000000000000000000000000000000000000000000000000000000000004','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,5,0,'side',0,0,'side',9,5,5000,'0000000000000000000000000000000000000000000000000000000000000005','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,5,1,'crimp',0,0,'crimp',9,5,5000,'0000000000000000000000000000000000000000000000000000000000000005','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,6,0,'side',0,0,'side',9,6,6000,'0000000000000000000000000000000000000000000000000000000000000006','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,6,1,'crimp',0,0,'crimp',9,6,6000,'0000000000000000000000000000000000000000000000000000000000000006','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,7,0,'side',0,0,'side',9,7,7000,'0000000000000000000000000000000000000000000000000000000000000007','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,7,1,'crimp',0,0,'crimp',9,7,7000,'0000000000000000000000000000000000000000000000000000000000000007','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,8,0,'side',0,0,'side',9,8,8000,'0000000000000000000000000000000000000000000000000000000000000008','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,8,1,'crimp',0,0,'crimp',9,8,8000,'0000000000000000000000000000000000000000000000000000000000000008','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,9,0,'side',0,0,'side',9,9,9000,'0000000000000000000000000000000000000000000000000000000000000009','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,9,1,'crimp',0,0,'crimp',9,9,9000,'0000000000000000000000000000000000000000000000000000000000000009','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,10,0,'side',0,0,'side',9,10,10000,'000000000000000000000000000000000000000000000000000000000000000a','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,10,1,'crimp',0,0,'crimp',9,10,10000,'000000000000000000000000000000000000000000000000000000000000000a','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,11,0,'side',0,0,'side',9,11,11000,'000000000000000000000000000000000000000000000000000000000000000b','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,11,1,'crimp',0,0,'crimp',9,11,11000,'000000000000000000000000000000000000000000000000000000000000000b','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,12,0,'side',0,0,'side',9,12,12000,'000000000000000000000000000000000000000000000000000000000000000c','{"crack":0.1,"good":0.9}');
INSERT INTO "unit_view" VALUES(1,0,12,1,'crimp',0,0,'crimp',9,12,12000,'000000000000000000000000000000000000000000000000000000000000000c','{"crack":0.1,"good":0.9}');
CREATE UNIQUE INDEX batch_one_open ON batch (state) WHERE state = 'open';
CREATE INDEX permit_batch ON permit (batch, epoch, lane);
CREATE INDEX unit_batch ON unit (batch, epoch, lane);
CREATE INDEX unit_view_frame ON unit_view (frame_camera, frame_session, frame_id, region);
CREATE INDEX alarm_batch ON alarm (batch);
CREATE TRIGGER unit_no_update BEFORE UPDATE ON unit BEGIN SELECT RAISE(ABORT, 'unit is append-only'); END;
CREATE TRIGGER unit_no_delete BEFORE DELETE ON unit BEGIN SELECT RAISE(ABORT, 'unit is append-only'); END;
CREATE TRIGGER unit_view_no_update BEFORE UPDATE ON unit_view BEGIN SELECT RAISE(ABORT, 'unit_view is append-only'); END;
CREATE TRIGGER unit_view_no_delete BEFORE DELETE ON unit_view BEGIN SELECT RAISE(ABORT, 'unit_view is append-only'); END;
CREATE TRIGGER permit_no_update BEFORE UPDATE ON permit BEGIN SELECT RAISE(ABORT, 'permit is append-only'); END;
CREATE TRIGGER permit_no_delete BEFORE DELETE ON permit BEGIN SELECT RAISE(ABORT, 'permit is append-only'); END;
CREATE TRIGGER gap_no_update BEFORE UPDATE ON gap BEGIN SELECT RAISE(ABORT, 'gap is append-only'); END;
CREATE TRIGGER gap_no_delete BEFORE DELETE ON gap BEGIN SELECT RAISE(ABORT, 'gap is append-only'); END;
CREATE TRIGGER alarm_no_update BEFORE UPDATE ON alarm BEGIN SELECT RAISE(ABORT, 'alarm is append-only'); END;
CREATE TRIGGER alarm_no_delete BEFORE DELETE ON alarm BEGIN SELECT RAISE(ABORT, 'alarm is append-only'); END;
CREATE TRIGGER conflict_no_update BEFORE UPDATE ON conflict BEGIN SELECT RAISE(ABORT, 'conflict is append-only'); END;
CREATE TRIGGER conflict_no_delete BEFORE DELETE ON conflict BEGIN SELECT RAISE(ABORT, 'conflict is append-only'); END;
CREATE TRIGGER batch_no_delete BEFORE DELETE ON batch BEGIN SELECT RAISE(ABORT, 'a batch is never deleted'); END;
CREATE TRIGGER batch_closes_once BEFORE UPDATE ON batch
WHEN OLD.state <> 'open' OR NEW.state <> 'closed' OR NEW.id <> OLD.id OR NEW.configuration <> OLD.configuration
  OR NEW.bundle <> OLD.bundle OR NEW.recipe <> OLD.recipe OR NEW.actor <> OLD.actor OR NEW.reason <> OLD.reason
  OR NEW.opened_wall_ns <> OLD.opened_wall_ns
BEGIN SELECT RAISE(ABORT, 'a batch can only be closed, once'); END;
CREATE TRIGGER plc_totals_no_delete BEFORE DELETE ON plc_totals BEGIN SELECT RAISE(ABORT, 'totals are never deleted'); END;
CREATE TRIGGER session_no_delete BEFORE DELETE ON session BEGIN SELECT RAISE(ABORT, 'sessions are never deleted'); END;
CREATE TRIGGER session_only_forward BEFORE UPDATE ON session WHEN NEW.acknowledged < OLD.acknowledged
BEGIN SELECT RAISE(ABORT, 'acknowledged never goes back'); END;
COMMIT;
PRAGMA application_id = 1280791108;
PRAGMA user_version = 2;
