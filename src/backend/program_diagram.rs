use super::cpu::ProgramListing;
use crate::diagram::Diagram;

impl ProgramListing {
    /// The program to be drawn: its regions one after the other, each with its kernel calls.
    pub fn diagram(&self) -> Diagram {
        let mut diagram = Diagram::default();
        let mut previous = None;
        for (index, region) in self.regions.iter().enumerate() {
            let mut lines = vec![match region.work {
                "images" => format!("region {index}: tiles of {} images", region.tile),
                work => format!("region {index}: {work}"),
            }];
            for step in &region.steps {
                let names = step.parameters.join(", ");
                lines.push(if names.is_empty() { step.operator.into() } else { format!("{} {names}", step.operator) });
            }
            previous = Some(diagram.add(lines, previous));
        }
        diagram
    }
}
