"""Writes vectors.test.json: the same values in every protocol of pickle. Run with Python 3.8 or newer."""
import pickle, datetime, decimal, uuid, json, collections
vals = {
 'none': None, 'true': True, 'false': False, 'int0': 0, 'int255':255,'int256':256,'int65536':65536,'neg1':-1,'neg2^31':-2**31,'2^31':2**31,'2^53':2**53,'-2^63':-2**63,'2^64':2**64,'2^2100':2**2100,
 'float':1.5,'inf':float('inf'),'ninf':float('-inf'),'negzero':-0.0,
 'str':'h\u00e9llo \U0001F600','empty':'','surr':'\ud800x','long':'x'*300,
 'bytes':b'\x00\xff','bytearray':bytearray(b'ab'),
 'list':[1,[2,[]],{}],'tuple':(),'t1':(1,),'t2':(1,2),'t3':(1,2,3),'t4':(1,2,3,4),
 'dict':{'a':1,'b':{'c':[None,True]},'__proto__':{'x':1}}, 'intkeys':{1:'a',2.5:'b',None:'c',(1,2):'d'},
 'set':{1},'frozenset':frozenset([1]),
 'dt':datetime.datetime(2024,1,2,3,4,5,678901),'dtutc':datetime.datetime(2024,1,2,3,4,5,678901,tzinfo=datetime.timezone.utc),'dtoff':datetime.datetime(2024,1,2,3,4,5,0,tzinfo=datetime.timezone(datetime.timedelta(hours=5,minutes=30))),
 'date':datetime.date(2024,1,2),'time':datetime.time(1,2,3,4),'td':datetime.timedelta(days=1,seconds=2,microseconds=3),
 'dec':decimal.Decimal('1.50'),'uuid':uuid.UUID('12345678-1234-5678-1234-567812345678'),
 'odict':collections.OrderedDict([('a',1)]),'complex':1+2j,
 'exc':{'exc_type':'ValueError','exc_message':('x',1),'exc_module':'builtins'},
}
shared=['s']; vals['shared']=[shared,shared]
rec=[]; rec.append(rec); vals['rec']=rec
out={}
for k,v in vals.items():
    out[k]={str(p):pickle.dumps(v,p).hex() for p in (0,1,2,3,4,5)}
print(json.dumps(out))
