//! The machine that reads a pickle.

use std::collections::HashMap;

use candle_core::{Error, Result, bail};

use super::pickle::{Id, MOST_VALUES, Name, Pickle, Storage, Value, View, name};

const LONGEST_NAME: usize = 512;
const MOST_DIMENSIONS: usize = 8;

pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Reads a pickle. An error where it names, calls or holds anything but the data that weights are saved as.
    pub(super) fn run(bytes: &'a [u8]) -> Result<Pickle> {
        let (values, stack, marks, memo) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
        let mut machine = Self { bytes, at: 0, values, stack, marks, memo };
        loop {
            let instruction = machine.take::<1>()?[0];
            if instruction == b'.' {
                let root = machine.pop()?;
                return Ok(Pickle { values: machine.values, root });
            }
            machine.step(instruction)?;
            if machine.values.len() > MOST_VALUES {
                bail!("the pickle holds more than {MOST_VALUES} values, which no checkpoint does");
            }
        }
    }

    /// What is wrong with the pickle, and where.
    fn fault(&self, what: &str) -> Error {
        Error::Msg(format!("the pickle {what}, at byte {}", self.at)).bt()
    }

    fn slice(&mut self, length: usize) -> Result<&[u8]> {
        match self.bytes.get(self.at..).and_then(|rest| rest.get(..length)) {
            Some(slice) => {
                self.at += length;
                Ok(slice)
            }
            None => bail!("the pickle ends too early, at byte {}", self.bytes.len()),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.slice(N)?);
        Ok(bytes)
    }

    fn text(&mut self, length: usize) -> Result<String> {
        match std::str::from_utf8(self.slice(length)?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => bail!("a text in the pickle is not UTF-8, at byte {}", self.at),
        }
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        let Some(length) = rest.iter().take(LONGEST_NAME).position(|byte| *byte == b'\n') else {
            bail!("a name in the pickle has no end within {LONGEST_NAME} bytes, at byte {}", self.at)
        };
        let line = self.text(length)?;
        self.at += 1;
        Ok(line)
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Id> {
        // What lies below a mark is not taken before the mark.
        let id = self.stack.pop().filter(|_| self.marks.last().is_none_or(|mark| self.stack.len() >= *mark));
        id.ok_or_else(|| self.fault("takes more than it has"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => Err(self.fault("lacks a mark")),
        }
    }

    /// A container that still is on the stack.
    fn top(&mut self) -> Result<&mut Value> {
        match self.stack.last() {
            Some(id) => Ok(&mut self.values[*id]),
            None => Err(self.fault("takes more than it has")),
        }
    }

    fn tuple(&mut self, length: usize) -> Result<()> {
        let mut items = (0..length).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        items.reverse();
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        match self.top()? {
            Value::List(list) => list.extend(items),
            _ => return Err(self.fault("appends to what is no list")),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<()> {
        let (pairs, odd) = items.as_chunks::<2>();
        match self.top()? {
            Value::Dict(entries) if odd.is_empty() => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)))
            }
            _ => return Err(self.fault("sets keys of what is no dictionary")),
        }
        Ok(())
    }

    fn step(&mut self, instruction: u8) -> Result<()> {
        match instruction {
            0x80 => match self.take::<1>()?[0] {
                0..=2 => {}
                other => bail!(
                    "the pickle has protocol {other}, PyTorch's is 2; save it again without `pickle_protocol`"
                ),
            },
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool),
            b'K' => self.number_of::<1>()?,
            b'M' => self.number_of::<2>()?,
            b'J' => {
                let number = i32::from_le_bytes(self.take()?);
                self.push(Value::Number(i64::from(number)));
            }
            0x8a => self.long()?,
            b'G' => {
                self.take::<8>()?;
                self.push(Value::Float);
            }
            b'X' => {
                let length = u32::from_le_bytes(self.take()?);
                let text = self.text(length as usize)?;
                self.push(Value::Text(text));
            }
            b')' => self.push(Value::Tuple(Vec::new())),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items));
            }
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b']' => self.push(Value::List(Vec::new())),
            b'a' | b'e' => {
                let items = if instruction == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
                self.append(items)?;
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set(&items)?;
            }
            b'q' | b'r' | b'h' | b'j' => self.remember(instruction)?,
            b'c' => {
                let (module, class) = (self.line()?, self.line()?);
                self.push(Value::Name(name(&module, &class)?));
            }
            b'Q' => self.persistent()?,
            b'R' | 0x81 => self.call()?,
            b'b' => self.build()?,
            other => bail!(
                "the pickle holds instruction {other:#04x}, which weights do without, at byte {}",
                self.at
            ),
        }
        Ok(())
    }

    /// Puts into the memo or gets out of it.
    fn remember(&mut self, instruction: u8) -> Result<()> {
        let index = match instruction {
            b'q' | b'h' => u32::from(self.take::<1>()?[0]),
            _ => u32::from_le_bytes(self.take()?),
        };
        if matches!(instruction, b'q' | b'r') {
            let id = self.pop()?;
            self.stack.push(id);
            self.memo.insert(index, id);
            return Ok(());
        }
        match self.memo.get(&index) {
            Some(id) => self.stack.push(*id),
            None => bail!("the pickle recalls {index}, which it never kept"),
        }
        Ok(())
    }

    /// A number of `N` bytes without sign.
    fn number_of<const N: usize>(&mut self) -> Result<()> {
        let bytes = self.take::<N>()?;
        let number = bytes.iter().rev().fold(0, |number, byte| number << 8 | i64::from(*byte));
        self.push(Value::Number(number));
        Ok(())
    }

    /// A number of up to 8 bytes with sign.
    fn long(&mut self) -> Result<()> {
        let length = usize::from(self.take::<1>()?[0]);
        let bytes = self.slice(length)?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut number = [if negative { 0xff } else { 0 }; 8];
        match number.get_mut(..length) {
            Some(low) => low.copy_from_slice(bytes),
            None => bail!("a number in the pickle has {length} bytes"),
        }
        self.push(Value::Number(i64::from_le_bytes(number)));
        Ok(())
    }

    fn items(&self, id: Id) -> &[Id] {
        match &self.values[id] {
            Value::Tuple(items) | Value::List(items) => items,
            _ => &[],
        }
    }

    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let fault = || self.fault("refers to something outside that is no storage of numbers");
        let storage = self.storage(id).ok_or_else(fault)?;
        self.push(Value::Storage(storage));
        Ok(())
    }

    /// `('storage', type, key, place, count)`.
    fn storage(&self, id: Id) -> Option<Storage> {
        let [kind, element, key, _, count] = *self.items(id) else { return None };
        match (&self.values[kind], &self.values[element], &self.values[key]) {
            (Value::Text(kind), Value::Name(Name::Storage(element)), Value::Text(_)) if kind == "storage" => {
                Some(Storage { element: *element, key, count: self.size(count)? })
            }
            _ => None,
        }
    }

    fn size(&self, id: Id) -> Option<usize> {
        match &self.values[id] {
            Value::Number(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        let items = self.items(id);
        if items.len() > MOST_DIMENSIONS {
            return None;
        }
        items.iter().map(|id| self.size(*id)).collect()
    }

    /// What a call of one of the known names would give.
    fn call(&mut self) -> Result<()> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let first = self.items(arguments).first().copied();
        match (&self.values[callee], first) {
            (Value::Name(Name::OrderedDict), None) => self.push(Value::Dict(Vec::new())),
            (Value::Name(Name::Class), None) => self.push(Value::Object(None)),
            (Value::Name(Name::Parameter | Name::Same), Some(first)) => self.stack.push(first),
            (Value::Name(Name::Tensor), Some(_)) => {
                let view = self.view(arguments)?;
                self.push(Value::Tensor(Box::new(view)));
            }
            (Value::Name(name), _) => {
                bail!("the pickle calls a {name:?} in a way that saved weights do not, at byte {}", self.at)
            }
            _ => return Err(self.fault("calls what is no name")),
        }
        Ok(())
    }

    /// `(storage, offset, shape, strides, …)`.
    fn view(&self, arguments: Id) -> Result<View> {
        let [storage, offset, shape, strides, ..] = self.items(arguments) else {
            return Err(self.fault("makes a tensor of too little"));
        };
        match (&self.values[*storage], self.size(*offset), self.sizes(*shape), self.sizes(*strides)) {
            (Value::Storage(storage), Some(offset), Some(shape), Some(strides))
                if shape.len() == strides.len() =>
            {
                Ok(View { storage: *storage, offset, shape, strides })
            }
            _ => Err(self.fault("makes a tensor of something else than a storage and sizes")),
        }
    }

    /// Gives an object its attributes. Those of a dictionary (PyTorch's `_metadata`) are no weights.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        match self.top()? {
            Value::Object(attributes) => *attributes = Some(state),
            Value::Dict(_) => {}
            _ => return Err(self.fault("gives attributes to what has none")),
        }
        Ok(())
    }
}
