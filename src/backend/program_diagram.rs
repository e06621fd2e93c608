use super::{cpu::ProgramListing, cuda};
use crate::diagram::Diagram;

impl ProgramListing {
    /// The program to be drawn: its regions one after the other, each with its kernel calls.
    pub fn diagram(&self) -> Diagram {
        let mut diagram = Diagram::default();
        let mut previous = None;
        for (index, region) in self.regions.iter().enumerate() {
            let mut lines = vec![region.heading(index)];
            for step in &region.steps {
                let names = step.parameters.join(", ");
                lines.push(if names.is_empty() { step.operator.into() } else { format!("{} {names}", step.operator) });
            }
            previous = Some(diagram.add(lines, previous));
        }
        diagram
    }
}

impl cuda::ProgramListing {
    /// The program to be drawn: its calls one after the other, those of the same operator together.
    pub fn diagram(&self) -> Diagram {
        let mut boxes: Vec<(&str, Vec<String>)> = Vec::new();
        for call in &self.calls {
            let names = call.parameters.join(", ");
            let line = if names.is_empty() { call.kernel.clone() } else { format!("{} {names}", call.kernel) };
            match boxes.last_mut() {
                Some((operator, lines)) if *operator == call.operator => lines.push(line),
                _ => boxes.push((&call.operator, vec![call.operator.clone(), line])),
            }
        }
        let mut diagram = Diagram::default();
        let mut previous = None;
        for (_, lines) in boxes {
            previous = Some(diagram.add(lines, previous));
        }
        diagram
    }
}
